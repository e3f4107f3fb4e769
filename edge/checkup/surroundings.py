"""Broker, folders, clock, memory."""

import ctypes
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from edge.checkup import Finding
from edge.errors import BrokerError, ConfigError
from edge.settings import DeviceSettings, LifeSettings, MqttSettings, Settings

FREE_MB = 100
"""Below this an outbox may not fit."""
BUILT = 1_735_689_600
"""2025-01-01: a clock before it has certainly not been set."""
TIME_ERROR = 5
"""adjtimex(2): the clock is not synchronised."""


def broker(settings: MqttSettings, device: DeviceSettings) -> Iterator[Finding]:
    """The broker answers and lets this user in. Under a client id of its own, so that a running device stays on."""
    if not settings.broker:
        yield Finding("broker", "ok", "none configured; events go to standard output")
        return
    from edge.sinks.mqtt_broker import load_credentials, parse_broker
    from edge.sinks.mqtt_session import MQTT5, MQTT311, NotConnectedError, Session, Waker

    mend = f"mosquitto_sub -v -t '{settings.topic_prefix}/#' -h HOST -p PORT   (from this machine, as the same user)"
    address = parse_broker(settings.broker)
    credentials = load_credentials(settings, address)
    name = f"{device.id or 'device'}-doctor-{os.getpid()}"
    for protocol in (MQTT5, MQTT311):
        waker = Waker()
        try:
            will = (f"{settings.topic_prefix}/{name}/availability", "")
            session = Session(address, credentials, name, protocol, settings.keepalive_s, will, waker)
            session.disconnect()
        except NotConnectedError as error:
            if protocol == MQTT5 and error.try_older:
                continue
            yield Finding("broker", "fail", f"{address}: {error}", mend)
        else:
            version = "MQTT 5" if session.is_mqtt5 else "MQTT 3.1.1"
            yield Finding("broker", "ok", f"{address} lets this device in, with {version}")
        finally:
            waker.close()
        return


def state_dir(settings: DeviceSettings) -> Iterator[Finding]:
    """The configured folder can be written, or made, and has room."""
    folder = settings.state_dir
    standing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    if not (standing.is_dir() and os.access(standing, os.W_OK)):
        mend = f"sudo install -d -o $USER {folder}"
        yield Finding("state", "warn", f"{folder} can't be written; a folder of the user's own serves", mend)
        return
    free_mb = shutil.disk_usage(standing).free / 2**20
    if free_mb < FREE_MB:
        yield Finding("state", "warn", f"{folder}: only {free_mb:.0f} MB free", "sudo journalctl --vacuum-size=50M")
    else:
        yield Finding("state", "ok", f"{folder} can be written, {free_mb:.0f} MB free")


def kernel_clock_state() -> int:
    """adjtimex(2)'s answer, asking only; 5 is not synchronised. Raises OSError where the kernel refuses."""
    # struct timex is at most 208 bytes on Linux; modes = 0 changes nothing.
    buffer = ctypes.create_string_buffer(512)
    libc = ctypes.CDLL(None, use_errno=True)
    state = int(libc.adjtimex(buffer))
    if state < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return state


def clock(now: Callable[[], float] = time.time, state: Callable[[], int] = kernel_clock_state) -> Iterator[Finding]:
    """Events carry the wall clock's time, so it should be right."""
    mend = "sudo timedatectl set-ntp true; timedatectl timesync-status"
    text = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now()))
    if now() < BUILT:
        yield Finding("clock", "fail", f"{text}: was never set", mend)
        return
    try:
        synchronised = state() != TIME_ERROR
    except (OSError, AttributeError):
        yield Finding("clock", "ok", f"{text}; whether it is synchronised can't be told here")
        return
    yield Finding("clock", "ok", text) if synchronised else Finding("clock", "warn", f"{text}, not synchronised", mend)


def memory(settings: LifeSettings, meminfo: Path = Path("/proc/meminfo")) -> Iterator[Finding]:
    """Enough is free for the program."""
    try:
        rows = dict(line.split(":", 1) for line in meminfo.read_text().splitlines() if ":" in line)
        free_mb = int(rows["MemAvailable"].split()[0]) / 1024
    except (OSError, KeyError, ValueError):
        yield Finding("memory", "ok", "this machine tells no figures")
        return
    wanted = min(150.0, settings.rss_limit_mb)
    if free_mb < wanted:
        yield Finding("memory", "warn", f"{free_mb:.0f} MB free, {wanted:.0f} are wanted", "ps aux --sort=-rss | head")
    else:
        yield Finding("memory", "ok", f"{free_mb:.0f} MB free")


def checks(settings: Settings) -> Iterator[tuple[str, Iterator[Finding]]]:
    yield "broker", _broker_or_why_not(settings)
    yield "state", state_dir(settings.device)
    yield "clock", clock()
    yield "memory", memory(settings.life)


def _broker_or_why_not(settings: Settings) -> Iterator[Finding]:
    try:
        yield from broker(settings.mqtt, settings.device)
    except (ConfigError, BrokerError) as error:
        yield Finding("broker", "fail", str(error), "mend [mqtt] in the configuration")
