"""Camera, Edge TPU, temperature and power."""

import ctypes.util
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from edge.checkup import Finding
from edge.errors import ConfigError, EdgeError
from edge.heat import FREQUENCY_CAPPED, SOFT_LIMIT, THROTTLED, UNDER_VOLTAGE, Board
from edge.settings import CameraSettings, LifeSettings, Settings

CAMERA_S = 15.0
"""For opening the camera and its first frame, an address to be looked up included."""
USB2_MBIT = 480


def camera(settings: CameraSettings, timeout_s: float = CAMERA_S) -> Iterator[Finding]:
    """The source opens and gives a frame. In a thread, since a driver may hang."""
    from edge.cameras.open import open_source
    from edge.cameras.source import parse_source

    source = parse_source(settings.source)
    answer: list[Finding] = []

    def look() -> None:
        try:
            opened = open_source(settings, fast=True)
            try:
                frame = opened.read()
            finally:
                opened.close()
        except (EdgeError, TimeoutError) as error:
            answer.append(Finding("camera", "fail", str(error), _camera_mend(source.kind)))
            return
        if frame is None:
            answer.append(
                Finding("camera", "fail", f"{source.name} opens, but holds no frame", "name another --source")
            )
            return
        height, width = frame.image.shape[:2]
        answer.append(Finding("camera", "ok", f"{source.name} gives {width}x{height}"))

    thread = threading.Thread(target=look, name="doctor-camera", daemon=True)
    thread.start()
    thread.join(timeout_s)
    hangs = Finding("camera", "fail", f"{source.name} hangs: nothing for {timeout_s:g} s", _camera_mend(source.kind))
    yield answer[0] if answer else hangs


def _camera_mend(kind: str) -> str:
    return {
        "picamera": "rpicam-hello --list-cameras; sudo apt install python3-picamera2",
        "usb": "v4l2-ctl --list-devices; sudo usermod -aG video $USER",
        "network": "ffprobe URL   (with the camera's own URL, from this machine)",
    }.get(kind, "ls -l FILE; name another with --source or camera.source")


def edge_tpu(
    backend: str, root: Path = Path("/"), find_library: Callable[[str], str | None] = ctypes.util.find_library
) -> Iterator[Finding]:
    """Is one plugged in, may this user use it, is its library installed, is it fast; the unrelated pycoral."""
    from edge.runtimes.edgetpu_device import find_edge_tpus, pycoral_warning

    warning = pycoral_warning()
    if warning:
        yield Finding("pycoral", "warn", warning, "python -m pip uninstall pycoral")
    found = find_edge_tpus(root)
    if not found:
        if backend == "edgetpu":
            mend = "lsusb -d 1a6e:089a; lsusb -d 18d1:9302; ls /dev/apex_*   (none: plug it in, use its own cable)"
            yield Finding("edge tpu", "fail", "none is plugged in, and classifier.backend asks for one", mend)
        else:
            yield Finding("edge tpu", "ok", "none; the CPU serves")
        return
    slow = [device for device in found if f" {USB2_MBIT} Mbit/s" in device]
    if slow:
        yield Finding("edge tpu", "warn", f"{slow[0]}: USB 2, three times slower", "use a blue USB 3 port; lsusb -t")
    else:
        yield Finding("edge tpu", "ok", "; ".join(found))
    if find_library("edgetpu") is None:
        yield Finding(
            "libedgetpu",
            "fail" if backend == "edgetpu" else "warn",
            "not installed, so the CPU serves",
            "sudo apt install ./libedgetpu1-std_16.0TF2.17.1-1_arm64.deb   (from github.com/feranick/libedgetpu)",
        )
    else:
        yield Finding("libedgetpu", "ok", "installed")
    closed = [str(node) for node in _tpu_nodes(root) if not os.access(node, os.R_OK | os.W_OK)]
    if closed:
        yield Finding("edge tpu", "fail", f"no permission for {closed[0]}", "sudo usermod -aG plugdev,apex $USER")


def _tpu_nodes(root: Path) -> Iterator[Path]:
    """The device files of the Edge TPUs on this machine."""
    from edge.runtimes.edgetpu_device import USB_IDS

    for device in root.glob("sys/bus/usb/devices/*"):
        try:
            ids = ((device / "idVendor").read_text().strip(), (device / "idProduct").read_text().strip())
            if ids in USB_IDS:
                bus, number = (int((device / name).read_text()) for name in ("busnum", "devnum"))
                yield root / f"dev/bus/usb/{bus:03}/{number:03}"
        except (OSError, ValueError):
            continue
    yield from root.glob("dev/apex_*")


def heat(settings: LifeSettings, board: Board | None = None) -> Iterator[Finding]:
    """Temperature now; throttling and under-voltage now and since boot."""
    board = board or Board()
    celsius = board.temperature_c()
    cool = "fit a heat sink or fan; vcgencmd measure_temp"
    if celsius is None:
        yield Finding("heat", "ok", "this machine tells no temperature")
    elif celsius >= settings.heat_soft_c:
        yield Finding("heat", "warn", f"{celsius:.0f} C; from {settings.heat_soft_c:g} C the frame rate sinks", cool)
    else:
        yield Finding("heat", "ok", f"{celsius:.0f} C")
    bits = board.throttle_bits()
    if bits is None:
        return
    power = "use the board's own power supply; vcgencmd get_throttled"
    if bits & UNDER_VOLTAGE:
        yield Finding("power", "warn", "under-voltage now", power)
    elif bits & (UNDER_VOLTAGE << 16):
        yield Finding("power", "warn", "under-voltage since boot", power)
    else:
        yield Finding("power", "ok", "no under-voltage since boot")
    if bits & (FREQUENCY_CAPPED | THROTTLED | SOFT_LIMIT):
        yield Finding("throttling", "warn", "the firmware slows the board down now", cool)


def checks(settings: Settings) -> Iterator[tuple[str, Iterator[Finding]]]:
    yield "camera", _or_config_error("camera", camera(settings.camera))
    yield "edge tpu", edge_tpu(settings.classifier.backend)
    yield "heat", heat(settings.life)


def _or_config_error(name: str, findings: Iterator[Finding]) -> Iterator[Finding]:
    try:
        yield from findings
    except ConfigError as error:
        yield Finding(name, "fail", str(error), f"mend {name} in the configuration")
