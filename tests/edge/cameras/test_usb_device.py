"""The USB adapter on a real V4L2 device: the kernel's vivid test driver (`modprobe vivid`), which can be unplugged and
made to stall. Skipped where there is none; vm_v4l2.sh runs it in a virtual machine."""

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edge.cameras.open import open_source
from edge.cameras.thread import CameraThread
from edge.cameras.usb import UsbCamera
from edge.errors import SourceError
from edge.frame_slot import LatestFrame
from edge.settings import CameraSettings
from tests.edge.cameras.waiting import camera_threads, descriptors, native_threads, until

NAMES = Path("/sys/class/video4linux")
SETTINGS = CameraSettings(source="usb:0", width=640, height=360, fps=30, reopen_min_s=0.1, reopen_max_s=0.5)


def vivid() -> Path | None:
    found = (Path("/dev") / name.parent.name for name in NAMES.glob("*/name") if "vivid" in name.read_text())
    return next(found, None)


DEVICE = vivid()
pytestmark = pytest.mark.skipif(
    DEVICE is None or not shutil.which("v4l2-ctl"), reason="no vivid test camera: modprobe vivid, apt install v4l-utils"
)


def control(name: str, value: int) -> None:
    subprocess.run(["v4l2-ctl", "-d", str(DEVICE), "-c", f"{name}={value}"], check=True, timeout=60)


def device_descriptors() -> int:
    return sum(link.readlink() == DEVICE for link in Path("/proc/self/fd").iterdir() if link.is_symlink())


@contextmanager
def watching() -> Iterator[tuple[CameraThread, LatestFrame]]:
    assert DEVICE is not None
    slot, device = LatestFrame(), DEVICE
    thread = CameraThread(lambda: UsbCamera(device, SETTINGS), SETTINGS, slot)
    thread.start()
    try:
        yield thread, slot
    finally:
        assert thread.close(timeout_s=60)
    assert not camera_threads()
    assert device_descriptors() == 0


@pytest.mark.parametrize(("width", "height"), [(640, 360), (1280, 720)])
def test_frames_have_the_asked_size_and_bgr_order(width: int, height: int) -> None:
    settings = replace(SETTINGS, width=width, height=height)
    source = open_source(settings)
    frames = [frame for _ in range(5) if (frame := source.read())]
    with pytest.raises(SourceError):  # one program at a time
        open_source(settings).read()
    source.close()
    assert [frame.sequence for frame in frames] == [0, 1, 2, 3, 4]
    assert frames[0].image.shape == (height, width, 3)
    # Colour bars: white, yellow, cyan, green, magenta, red, blue, black; text overlays the top.
    bars = [frames[-1].image[height - 60, (2 * bar + 1) * width // 16].astype(int) > 100 for bar in range(8)]
    expected = [(1, 1, 1), (0, 1, 1), (1, 1, 0), (0, 1, 0), (1, 0, 1), (0, 0, 1), (1, 0, 0), (0, 0, 0)]
    assert np.array_equal(bars, np.array(expected, bool))
    assert device_descriptors() == 0


def test_a_stall_is_noticed_within_five_seconds_and_mended() -> None:
    with watching() as (thread, slot):
        until(lambda: thread.condition == "ok")
        control("percentage_of_dropped_buffers", 100)
        begin_s = time.monotonic()
        until(lambda: thread.condition == "stalled")
        print(f"stall noticed after {time.monotonic() - begin_s:.1f} s: {thread.reason}")
        control("percentage_of_dropped_buffers", 0)
        until(lambda: thread.condition == "ok")
        slot.clear()
        assert slot.take(60) is not None


def test_an_unplugged_camera_is_lost_and_taken_back() -> None:
    with watching() as (thread, slot):
        until(lambda: thread.condition == "ok")
        control("disconnect", 1)
        begin_s = time.monotonic()
        until(lambda: thread.condition == "lost")
        print(f"unplug noticed after {time.monotonic() - begin_s:.1f} s: {thread.reason}")
        until(lambda: thread.condition == "ok")
        slot.clear()
        assert slot.take(60) is not None


def test_privacy_lets_go_of_the_device() -> None:
    with watching() as (thread, _):
        for _ in range(3):
            until(lambda: thread.condition == "ok" and thread.reason == "")
            assert device_descriptors() == 1
            thread.pause()
            until(lambda: not thread.device_open)
            assert device_descriptors() == 0
            thread.resume()
            until(lambda: thread.device_open)


def test_thirty_unplugs_leak_nothing() -> None:
    with watching() as (thread, _):

        def unplug() -> None:
            until(lambda: thread.condition == "ok")
            control("disconnect", 1)
            until(lambda: thread.condition == "lost")
            until(lambda: thread.condition == "ok")

        unplug()
        before, threads = descriptors(), native_threads()
        for _ in range(30):
            unplug()
        until(lambda: descriptors() <= before)
        until(lambda: native_threads() <= threads)
