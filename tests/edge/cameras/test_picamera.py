"""The picamera2 adapter against the fake, which keeps the real one's habits; and the fake itself."""

import sys
from collections.abc import Iterator
from dataclasses import replace
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from edge.cameras import fake_picamera2
from edge.cameras.fake_picamera2 import World
from edge.cameras.open import open_source
from edge.cameras.picamera import Picamera
from edge.cameras.thread import CameraThread
from edge.errors import ConfigError, SourceError
from edge.frame_slot import LatestFrame
from edge.settings import CameraSettings
from tests.edge.cameras.waiting import camera_threads, descriptors, until

SETTINGS = CameraSettings(source="picamera", width=320, height=240, reopen_min_s=0.02, reopen_max_s=0.1)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setitem(sys.modules, "picamera2", fake_picamera2)
    world = fake_picamera2.reset()
    yield world
    assert world.unbounded_captures == 0, "a capture without wait= hangs for ever one day"
    assert not world.busy, "every camera was closed"
    fake_picamera2.reset()


def test_frames_are_bgr_of_the_working_size(world: World) -> None:
    camera = Picamera(SETTINGS)
    frames = [frame for _ in range(3) if (frame := camera.read())]
    camera.close()
    assert [frame.sequence for frame in frames] == [0, 1, 2]
    assert frames[0].image.shape == (240, 320, 3)
    assert np.array_equal(frames[0].image[20:], world.scene[20:])


@pytest.mark.parametrize("pixel_format", ["RGB888", "BGR888", "XRGB8888", "XBGR8888", "YUV420"])
@pytest.mark.parametrize("size", [(320, 240), (300, 200)])
def test_what_configure_settled_on_is_read_back(world: World, pixel_format: str, size: tuple[int, int]) -> None:
    world.adjusted = {"format": pixel_format, "size": size}
    camera = Picamera(SETTINGS)
    frame = camera.read()
    camera.close()
    assert frame is not None
    assert frame.image.shape == (size[1], size[0], 3)
    top, bottom = frame.image[20, 100].astype(int), frame.image[-20, 100].astype(int)
    assert np.abs(top - world.scene[20, 100]).max() <= 3
    assert np.abs(bottom - world.scene[-20, 100]).max() <= 3


def test_the_whole_field_of_view_is_asked_for(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    configure = fake_picamera2.Picamera2.configure

    def spy(self: fake_picamera2.Picamera2, given: dict[str, Any]) -> None:
        asked.append(given)
        configure(self, given)

    monkeypatch.setattr(fake_picamera2.Picamera2, "configure", spy)
    Picamera(replace(SETTINGS, fps=12)).close()
    assert asked[0]["raw"]["size"] == (1640, 1232)
    assert asked[0]["main"] == {"size": (320, 240), "format": "RGB888"}
    assert asked[0]["controls"] == {"FrameRate": 12}


def test_a_stall_is_a_bounded_timeout_and_close_does_not_hang(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge.cameras.picamera.READ_S", 0.1)
    camera = Picamera(SETTINGS)
    world.stalled.set()
    with pytest.raises(TimeoutError, match="no frame"):
        camera.read()
    camera.close()
    camera.close()
    with pytest.raises(SourceError, match="after close"):
        camera.read()


def test_what_is_wrong_is_said_and_nothing_leaks(world: World) -> None:
    world.cameras = 0
    before = descriptors()
    for _ in range(5):
        with pytest.raises(SourceError, match=r"no such camera \(libcamera sees 0\)"):
            Picamera(SETTINGS)
    world.cameras = 1
    with pytest.raises(SourceError, match=r"picamera:1: no such camera"):
        Picamera(SETTINGS, 1)
    first = Picamera(SETTINGS)
    opened = descriptors()
    for _ in range(5):
        with pytest.raises(SourceError, match="in use by another program"):
            Picamera(SETTINGS)
    assert descriptors() == opened
    first.close()
    world.no_buffers = True
    for _ in range(5):
        with pytest.raises(SourceError, match=r"dmaHeap device\); end the other program"):
            Picamera(SETTINGS)
        assert not world.busy
    assert descriptors() == before
    world.no_buffers = False
    with pytest.raises(SourceError, match="even width and height"):
        Picamera(replace(SETTINGS, width=321))
    world.adjusted = {"format": "MJPEG"}
    with pytest.raises(SourceError, match=r"expected a picture format .* got MJPEG"):
        Picamera(SETTINGS)
    assert descriptors() == before


def test_without_picamera2_the_configuration_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "picamera2", None)
    with pytest.raises(ConfigError, match="apt install python3-picamera2") as caught:
        open_source(SETTINGS)
    assert "\n" not in str(caught.value)


def test_the_thread_takes_a_stalled_and_an_unplugged_camera_back(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge.cameras.picamera.READ_S", 0.2)
    slot = LatestFrame()
    thread = CameraThread(lambda: open_source(SETTINGS), SETTINGS, slot)
    thread.start()
    for _ in range(3):
        until(lambda: thread.condition == "ok")
        world.stalled.set()
        until(lambda: thread.condition == "stalled")
        world.cameras = 0
        world.stalled.clear()
        until(lambda: thread.condition == "lost" and "no such camera" in thread.reason)
        world.cameras = 1
    until(lambda: thread.condition == "ok")
    assert slot.take(60) is not None
    before = descriptors()
    for _ in range(10):
        thread.pause()
        until(lambda: not thread.device_open)
        assert not world.busy
        thread.resume()
        until(lambda: thread.device_open and thread.reason == "")
    assert descriptors() == before
    assert thread.close(60)
    assert not camera_threads()


def test_the_fake_keeps_the_habits_that_bite(world: World) -> None:
    camera = fake_picamera2.Picamera2()
    with pytest.raises(RuntimeError, match="configured"):
        camera.start()
    with pytest.raises(TimeoutError):
        camera.capture_array(wait=0.05)  # not started
    camera.configure(camera.create_video_configuration({"size": (64, 48), "format": "RGB888"}, {}, {}))
    camera.start()
    with pytest.raises(RuntimeError, match="stopped before"):
        camera.configure({})
    assert camera.capture_array(wait=5)[30, 30].tolist() == world.scene[-1, -1].tolist(), "RGB888 is a BGR array"
    with pytest.raises(RuntimeError):
        fake_picamera2.Picamera2()
    camera.close()
    with pytest.raises(TimeoutError):
        camera.capture_array(wait=0.05)
    assert isinstance(fake_picamera2, ModuleType)
