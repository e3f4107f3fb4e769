"""CameraThread against scripted sources: faults noticed, reopened, numbered on, closed for privacy, ended in time."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from edge.cameras.capture import stamp
from edge.cameras.thread import MAX_STUCK, CameraThread
from edge.errors import ConfigError, SourceError
from edge.fakes import ScriptedSource
from edge.frame_slot import LatestFrame
from edge.interfaces import FrameSource
from edge.records import Frame
from edge.settings import CameraSettings
from tests.edge.cameras.waiting import camera_threads, descriptors, until

QUICK = CameraSettings(stall_s=0.3, frozen_s=0.3, reopen_min_s=0.01, reopen_max_s=0.05)
PLAYED = replace(QUICK, source="clip.mp4")


class Camera:
    """What is plugged in: opened again and again by ``open``, made to fail by ``mode``."""

    def __init__(self, mode: str = "ok") -> None:
        self.mode = mode
        self.opened = self.closed = 0
        self.free = threading.Event()
        """Lets go of reads that hang."""

    def open(self) -> FrameSource:
        if self.mode == "absent":
            raise SourceError("cam: not there; plug it in")
        if self.mode == "hang-open":
            self.free.wait(120)
        self.opened += 1
        return _Opened(self)


class _Opened:
    name, live = "cam", True

    def __init__(self, camera: Camera) -> None:
        self._camera, self._sequence = camera, 0

    def read(self) -> Frame | None:
        mode = self._camera.mode
        time.sleep(0.005)
        if mode == "lost":
            raise SourceError("cam: lost; plug it in again")
        if mode == "timeout":
            raise TimeoutError("cam: no frame in 2 s")
        if mode == "ended":
            return None
        if mode == "broken":
            raise ZeroDivisionError("a bug")
        if mode == "hang":
            self._camera.free.wait(120)
        self._sequence += 1
        level = {"black": 0, "frozen": 99}.get(mode)
        picture = np.random.default_rng().integers(30, 200, (24, 32, 3), dtype=np.uint8)
        return stamp(picture if level is None else np.full((24, 32, 3), level, np.uint8), self._sequence - 1)

    def close(self) -> None:
        self._camera.closed += 1


@contextmanager
def running(
    open_source: Callable[[], FrameSource], settings: CameraSettings = QUICK, drops: bool = True
) -> Iterator[tuple[CameraThread, LatestFrame]]:
    slot = LatestFrame(drops)
    thread = CameraThread(open_source, settings, slot)
    thread.start()
    try:
        yield thread, slot
    finally:
        assert thread.close(timeout_s=60)
    assert not camera_threads()


def test_frames_reach_the_slot_and_the_camera_is_closed_once() -> None:
    camera = Camera()
    with running(camera.open) as (thread, slot):
        first = slot.take(30)
        until(lambda: thread.condition == "ok")
        until(lambda: thread.dropped > 3)
        second = slot.take(30)
    assert first is not None
    assert second is not None
    assert second.sequence > first.sequence + 3
    assert thread.reason == ""
    assert thread.exception is None
    assert (camera.opened, camera.closed) == (1, 1)
    assert slot.closed


@pytest.mark.parametrize(
    ("mode", "condition", "reason"),
    [
        ("lost", "lost", "plug it in again"),
        ("absent", "lost", "not there"),
        ("ended", "lost", "the stream ended"),
        ("timeout", "stalled", "no frame in 2 s"),
        ("hang", "stalled", "no frame for"),
        ("black", "stalled", "black"),
        ("frozen", "stalled", "frozen"),
    ],
)
def test_each_fault_is_named_and_mended_when_the_camera_comes_back(mode: str, condition: str, reason: str) -> None:
    camera = Camera()
    with running(camera.open) as (thread, slot):
        until(lambda: thread.condition == "ok")
        if mode == "absent":
            camera.mode = "lost"
            until(lambda: thread.condition == "lost")
        camera.mode = mode
        until(lambda: thread.condition == condition and reason in thread.reason, f"{condition}: {reason}")
        if mode != "hang":
            opened = camera.opened
            until(lambda: mode == "absent" or camera.opened >= opened + 3, "reopened again and again")
            assert thread.condition == condition, "it is not ok again until a living picture comes"
        camera.mode = "ok"
        camera.free.set()
        until(lambda: thread.condition == "ok")
        assert thread.reason == ""
        slot.take(0)
        assert slot.take(30) is not None
    assert camera.opened == camera.closed


def test_frame_numbers_go_on_over_reopenings() -> None:
    camera = Camera()
    numbers: list[int] = []
    with running(camera.open) as (thread, slot):
        for _ in range(5):
            until(lambda: thread.condition == "ok")
            numbers += [frame.sequence for _ in range(3) if (frame := slot.take(30))]
            camera.mode = "lost"
            until(lambda: thread.condition == "lost")
            camera.mode = "ok"
    assert len(numbers) == 15
    assert all(later > earlier for earlier, later in pairwise(numbers))
    assert thread.dropped == slot.dropped


def test_a_black_picture_is_not_shown_again_after_reopening() -> None:
    camera = Camera()
    with running(camera.open) as (thread, slot):
        until(lambda: thread.condition == "ok")
        camera.mode = "black"
        until(lambda: thread.condition == "stalled")
        slot.clear()
        opened = camera.opened
        until(lambda: camera.opened >= opened + 3)
        assert slot.take(0) is None
        assert thread.condition == "stalled"


def test_an_error_that_reopening_cannot_mend_reaches_the_main_thread() -> None:
    camera = Camera("broken")
    with running(camera.open) as (thread, slot):
        until(lambda: thread.finished)
        assert isinstance(thread.exception, ZeroDivisionError)
        assert slot.take(60) is None, "the main thread is woken at once"

    def misconfigured() -> FrameSource:
        raise ConfigError("picamera2 can't be imported")

    with running(misconfigured) as (thread, _):
        until(lambda: thread.finished)
        assert isinstance(thread.exception, ConfigError)


def test_privacy_closes_the_camera_and_no_frame_gets_through_until_resumed() -> None:
    camera = Camera()
    with running(camera.open) as (thread, slot):
        for _ in range(5):
            until(lambda: thread.condition == "ok" and slot.take(0))
            thread.pause()
            assert slot.take(0) is None
            until(lambda: not thread.device_open)
            assert camera.opened == camera.closed
            until(lambda: thread.reason == "closed for privacy")
            assert thread.condition == "ok"
            assert slot.take(0.05) is None
            thread.resume()
            until(lambda: thread.device_open and thread.reason == "")


def test_privacy_holds_while_the_camera_is_lost_or_hangs() -> None:
    camera = Camera("absent")
    with running(camera.open) as (thread, _):
        until(lambda: "not there" in thread.reason)
        thread.pause()
        until(lambda: thread.reason == "closed for privacy")
        camera.mode = "hang"
        thread.resume()
        until(lambda: thread.device_open)
        thread.pause()
        until(lambda: thread.reason == "closed for privacy")
        camera.free.set()
        until(lambda: not thread.device_open)


def test_thirty_reopenings_leak_no_thread_and_no_descriptor() -> None:
    camera = Camera()
    with running(camera.open) as (thread, _):
        until(lambda: thread.condition == "ok")
        until(lambda: len(camera_threads()) == 2)
        before = descriptors()
        for _ in range(30):
            camera.mode = "lost"
            until(lambda: thread.condition == "lost")
            camera.mode = "ok"
            until(lambda: thread.condition == "ok")
        assert len(camera_threads()) == 2
        assert descriptors() == before
    assert camera.opened == camera.closed == 31


def test_a_hanging_read_delays_neither_close_nor_the_process() -> None:
    camera = Camera("hang")
    slot = LatestFrame()
    thread = CameraThread(camera.open, QUICK, slot)
    thread.start()
    until(lambda: thread.condition == "stalled")
    assert thread.close(timeout_s=0.1) is False
    assert slot.closed
    assert all(each.daemon for each in threading.enumerate() if each.name.startswith("camera"))
    camera.free.set()
    until(lambda: not camera_threads())
    assert thread.close()


@pytest.mark.parametrize("mode", ["hang", "hang-open"])
def test_hanging_readers_are_bounded_then_the_main_thread_is_told(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge.cameras.thread.RETURN_S", 0.05)
    monkeypatch.setattr("edge.cameras.thread.OPEN_S", 0.3)
    camera = Camera(mode)
    slot = LatestFrame()
    thread = CameraThread(camera.open, QUICK, slot)
    thread.start()
    until(lambda: thread.finished)
    assert isinstance(thread.exception, SourceError)
    assert "restart this program" in str(thread.exception)
    assert camera_threads().count("camera-reader") == MAX_STUCK
    assert thread.condition == "lost"
    camera.free.set()
    until(lambda: not camera_threads())
    assert camera.closed == camera.opened == MAX_STUCK, "even late, each closes what it opened"


def test_hanging_readers_that_return_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge.cameras.thread.RETURN_S", 0.05)
    camera = Camera("hang")
    with running(camera.open, replace(QUICK, reopen_max_s=60)) as (thread, _):
        until(lambda: "hang in the camera's driver" in thread.reason)
        camera.mode = "ok"
        camera.free.set()
        until(lambda: thread.condition == "ok")


def test_a_file_ends_once_and_gives_every_frame_without_dropping() -> None:
    pictures = [np.zeros((4, 4, 3), np.uint8)] * 50
    with running(lambda: ScriptedSource(pictures), PLAYED, drops=False) as (thread, slot):
        seen = []
        while not (slot.closed and thread.finished):
            if frame := slot.take(30):
                seen.append(frame.sequence)
        last = slot.take(0)
        seen += [last.sequence] if last else []
    assert seen == list(range(50)), "black pictures of a file are no fault"
    assert thread.exception is None
    assert thread.dropped == 0
    assert thread.condition == "ok"


@pytest.mark.parametrize("error", [SourceError("a.mp4: cut off"), TimeoutError("odd")])
def test_a_files_error_comes_after_its_frames(error: Exception) -> None:
    script = [np.zeros((4, 4, 3), np.uint8)] * 3 + [error]
    with running(lambda: ScriptedSource(script), PLAYED, drops=False) as (thread, slot):
        seen = 0
        while not slot.closed:
            seen += slot.take(30) is not None
        seen += slot.take(0) is not None
        assert seen == 3
        assert thread.exception is error


def test_a_missing_file_is_not_tried_again() -> None:
    opened = []

    def missing() -> FrameSource:
        opened.append(1)
        raise SourceError("clip.mp4: no such file")

    with running(missing, PLAYED) as (thread, slot):
        assert slot.take(60) is None
        until(lambda: thread.finished)
    assert isinstance(thread.exception, SourceError)
    assert len(opened) == 1


def test_closing_before_starting_and_twice() -> None:
    thread = CameraThread(Camera().open, QUICK, LatestFrame())
    assert thread.close()
    assert thread.close()
