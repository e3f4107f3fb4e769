#!/usr/bin/env bash
# Boots a Debian in systemd-nspawn, installs the program and its unit there and tries the unit's promises for real:
# start, password credential, reload, kill -9, a frozen program (watchdog), restart by command, wrong configuration, stop.
# About two minutes, 500 MB in a temporary folder, no network inside. Needs root and: apt install systemd-container
# mmdebstrap. Run from the repository's root, with .venv-edge made (make test does) and Python 3.11 as in Debian 12.
set -euo pipefail
top=$(mktemp -d "${TMPDIR:-/tmp}/emotion-edge-boot-XXXXXX")
trap 'rm -rf "$top"' EXIT
root=$top/root
mmdebstrap --quiet --variant=minbase \
    --include=systemd,systemd-sysv,dbus,procps,python3,mosquitto,mosquitto-clients bookworm "$root"

program=$root/opt/emotion-edge
mkdir -p "$program/.venv-edge/bin" "$program/.venv-edge/lib/python3.11" "$root/etc/emotion-edge" "$root/var/pictures"
git archive HEAD | tar x -C "$program"
cp -r models "$program/" # with what was fetched
chmod -R a+rX "$program/models"
cp -r .venv-edge/lib/python3.11/site-packages "$program/.venv-edge/lib/python3.11/"
ln -s /usr/bin/python3 "$program/.venv-edge/bin/python"
printf 'home = /usr/bin\ninclude-system-site-packages = false\n' > "$program/.venv-edge/pyvenv.cfg"
# A camera that lasts: the demo clip's pictures, ten a second.
.venv-edge/bin/python - "$root/var/pictures" <<'PYTHON'
import itertools, sys
from pathlib import Path
import cv2
from edge.cameras.video_file import VideoFile
from edge.demo import CLIP
folder, source = Path(sys.argv[1]), VideoFile(CLIP, fast=True)
for number, frame in enumerate(iter(source.read, None)):
    cv2.imwrite(str(folder / f"{number:05}.jpg"), frame.image)
for copy in range(number + 1, 3000):
    (folder / f"{copy:05}.jpg").hardlink_to(folder / f"{copy % (number + 1):05}.jpg")
PYTHON

cat > "$root/etc/emotion-edge/emotion-edge.toml" <<'TOML'
[device]
id = "boot"
[camera]
source = "/var/pictures"
fps = 10
[mqtt]
broker = "mqtt://127.0.0.1:1883"
username = "camera"
TOML
install -m 600 <(printf secret) "$root/etc/emotion-edge/mqtt-password"
units=$root/etc/systemd/system
sed 's/^#LoadCredential/LoadCredential/' systemd/emotion-edge.service > "$units/emotion-edge.service"
mkdir "$units/emotion-edge.service.d"
printf '[Service]\nWatchdogSec=4\nRestartSec=1\n' > "$units/emotion-edge.service.d/quick.conf"
printf 'listener 1883 127.0.0.1\nallow_anonymous false\npassword_file /etc/mosquitto/passwords\n' \
    > "$root/etc/mosquitto/conf.d/boot.conf"
chroot "$root" mosquitto_passwd -c -b /etc/mosquitto/passwords camera secret
chmod 644 "$root/etc/mosquitto/passwords"

cat > "$root/root/check.sh" <<'CHECK'
#!/bin/bash
exec > /root/result.txt 2>&1
property() { systemctl show -p "$1" --value emotion-edge; }
expect() { # what, wanted, got
    if [ "$2" = "$3" ]; then echo "ok    $1: $3"; else echo "FAIL  $1: expected $2, got $3"; fi
}
until_is() { # property, wanted, seconds
    for _ in $(seq $(($3 * 5))); do [ "$(property "$1")" = "$2" ] && break; sleep 0.2; done
    property "$1"
}
retained() { timeout 5 mosquitto_sub -h 127.0.0.1 -u camera -P secret -C 1 -t "emotion/boot/$1"; }
configuration=/etc/emotion-edge/emotion-edge.toml
trap 'journalctl -u emotion-edge -b -o cat --no-pager > /root/journal.txt; systemctl poweroff' EXIT
systemctl start emotion-edge || { echo "FAIL  start"; exit; }
expect "started (READY came)" active "$(property ActiveState)"
sleep 3
expect "password from the credential" online "$(retained availability)"
expect "state folder is a DynamicUser's" 700 "$(stat -c %a /var/lib/private/emotion-edge)"
printf '[judgement]\nconfidence_threshold = 0.6\n' >> $configuration
systemctl reload emotion-edge
expect "reload" 0 $?
expect "reloaded threshold" 0.6 "$(sleep 1; retained threshold/state)"
systemctl kill -s KILL emotion-edge
expect "restarted after kill -9" 1 "$(until_is NRestarts 1 30)"
until_is ActiveState active 30 > /dev/null; sleep 2
kill -STOP "$(property MainPID)"
expect "restarted by the watchdog when frozen" 2 "$(until_is NRestarts 2 30)"
until_is ActiveState active 30 > /dev/null; sleep 2
mosquitto_pub -h 127.0.0.1 -u camera -P secret -t emotion/boot/cmd/restart -m PRESS
expect "restarted by command" 3 "$(until_is NRestarts 3 30)"
until_is ActiveState active 30 > /dev/null
expect "running" active "$(property ActiveState)"
cp $configuration /tmp/good; echo '[camra]' >> $configuration
systemctl restart emotion-edge
sleep 3
expect "a wrong configuration is not restarted" failed "$(property ActiveState)"
expect "its exit code" 78 "$(property ExecMainStatus)"
cp /tmp/good $configuration; systemctl reset-failed emotion-edge; systemctl start emotion-edge; sleep 2
systemctl stop emotion-edge
expect "stopped" inactive "$(property ActiveState)"
expect "its exit code" 0 "$(property ExecMainStatus)"
expect "offline is retained" offline "$(retained availability)"
expect "no traceback" 0 "$(journalctl -u emotion-edge -b -o cat --no-pager | grep -c Traceback)"
CHECK
chmod +x "$root/root/check.sh"
printf '[Unit]\nAfter=mosquitto.service\n[Service]\nType=oneshot\nExecStart=/root/check.sh\nTimeoutStartSec=240\n' \
    > "$units/check.service"
mkdir -p "$units/multi-user.target.wants"
ln -s ../check.service "$units/multi-user.target.wants/check.service"

timeout 300 systemd-nspawn --quiet --boot --directory="$root" --register=no --keep-unit --machine="boot$$" \
    --private-network --console=pipe < /dev/null > "$top/console.txt" 2>&1 || true
cat "$root/root/result.txt"
if grep -q FAIL "$root/root/result.txt" || ! grep -q "no traceback" "$root/root/result.txt"; then
    tail -n 60 "$root/root/journal.txt" "$top/console.txt" >&2
    exit 1
fi
