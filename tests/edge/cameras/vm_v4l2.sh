#!/usr/bin/env bash
# Runs test_usb_device.py on a real V4L2 camera, in a virtual machine: Debian's kernel with its vivid test driver, and
# this machine's files, read only, as its root. From the checkout's root, about two minutes without KVM:
#   apt install qemu-system-x86 busybox-static cpio kmod v4l-utils
#   tests/edge/cameras/vm_v4l2.sh [PYTHON, default .venv-edge/bin/python]
set -euo pipefail
PYTHON=$(realpath -s "${1:-.venv-edge/bin/python}")
CHECKOUT=$PWD
WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT
cd "$WORK"

PACKAGE=$(apt-cache depends linux-image-amd64 | grep -o 'linux-image-[0-9][^ ]*' | head -1)
apt-get download -q "$PACKAGE" >/dev/null 2>&1
dpkg -x linux-image-*.deb kernel
RELEASE=$(ls kernel/lib/modules)
depmod -b kernel "$RELEASE"

mkdir -p initrd/bin initrd/modules initrd/proc initrd/sys initrd/dev initrd/host
cp /bin/busybox initrd/bin/
for module in virtio_pci 9pnet_virtio 9p vivid; do
    modprobe -S "$RELEASE" -d kernel --show-depends "$module" | awk '/insmod/ {print $2}'
done | awk '!seen[$0]++' | while read -r file; do
    cp "$file" initrd/modules/
    basename "$file" >>initrd/order
done
cat >initrd/init <<'INIT'
#!/bin/busybox sh
/bin/busybox mkdir -p /b && /bin/busybox --install -s /b
export PATH=/b
mount -t proc p /proc; mount -t sysfs s /sys; mount -t devtmpfs d /dev
# One camera with a webcam's input, and nothing but its capture node.
for module in $(cat /order); do
    case $module in vivid.ko) set -- n_devs=1 input_types=0x00 node_types=0x1 ;; *) set -- ;; esac
    insmod /modules/$module "$@"
done
mount -t 9p -o trans=virtio,version=9p2000.L,ro,msize=512000,cache=loose host /host
mount -t tmpfs t /host/tmp
for folder in dev proc sys; do mount --rbind /$folder /host/$folder; done
cp /run.sh /host/tmp/
chroot /host /bin/bash /tmp/run.sh
poweroff -f
INIT
chmod +x initrd/init
cat >initrd/run.sh <<RUN
export PATH=/usr/bin:/bin:/usr/sbin:/sbin HOME=/tmp PYTHONDONTWRITEBYTECODE=1
cd '$CHECKOUT'
'$PYTHON' -m pytest tests/edge/cameras/test_usb_device.py -q -s && echo V4L2 TESTS PASSED
RUN
(cd initrd && find . | cpio -o -H newc --quiet | gzip -1) >initrd.gz

timeout 600 qemu-system-x86_64 -accel tcg -cpu max -smp 2 -m 3072 -nographic -no-reboot -nic none \
    -kernel kernel/boot/vmlinuz-"$RELEASE" -initrd initrd.gz -append "console=ttyS0 quiet panic=-1" \
    -virtfs local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap </dev/null 2>&1 | tee log
grep -q "V4L2 TESTS PASSED" log
