"""NetworkCamera and CameraThread against a real HTTP camera that stalls, closes, lies and comes back."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from edge.cameras.network import NetworkCamera
from edge.cameras.open import open_source
from edge.cameras.source import parse_source
from edge.cameras.thread import CameraThread
from edge.errors import SourceError
from edge.frame_slot import LatestFrame
from edge.settings import CameraSettings
from tests.edge.cameras.mjpeg_server import MjpegServer, Mode
from tests.edge.cameras.waiting import camera_threads, descriptors, native_threads, until


@contextmanager
def watching(url: str, stall_s: float = 3.0) -> Iterator[tuple[CameraThread, LatestFrame]]:
    settings = CameraSettings(source=url, stall_s=stall_s, frozen_s=1.0, reopen_min_s=0.02, reopen_max_s=0.2)
    slot = LatestFrame()
    thread = CameraThread(lambda: open_source(settings), settings, slot)
    thread.start()
    try:
        yield thread, slot
    finally:
        assert thread.close(timeout_s=60)
    assert not camera_threads()


def test_frames_are_bgr_stamped_and_numbered() -> None:
    with MjpegServer() as server:
        camera = NetworkCamera(server.url, "cam")
        frames = [frame for _ in range(5) if (frame := camera.read())]
        camera.close()
        camera.close()
    assert [frame.sequence for frame in frames] == [0, 1, 2, 3, 4]
    assert {frame.image.shape for frame in frames} == {(240, 320, 3)}
    assert all(later.monotonic_s >= earlier.monotonic_s for earlier, later in pairwise(frames))
    with pytest.raises(SourceError, match="after close"):
        camera.read()


def test_user_and_password_open_it_and_are_shown_nowhere(capfd: pytest.CaptureFixture[str]) -> None:
    with MjpegServer(user="viewer", password="p@ss:/word") as server:
        right = parse_source(server.url.replace("//", "//viewer:p%40ss%3A%2Fword@"))
        camera = NetworkCamera(right.address, right.name)
        assert camera.read() is not None
        assert camera.name == server.url
        camera.close()
        wrong = parse_source(server.url.replace("//", "//viewer:Hunter2@"))
        with pytest.raises(SourceError, match="the user and the password") as caught:
            NetworkCamera(wrong.address, wrong.name)
    shown = str(caught.value) + capfd.readouterr().err
    assert "Hunter2" not in shown
    assert "viewer" not in shown


def test_what_is_wrong_is_said() -> None:
    with MjpegServer() as server:
        server.mode = "missing"
        with pytest.raises(SourceError, match="gives no video; check the path"):
            NetworkCamera(server.url, "cam")
        server.mode = "garbage"
        with pytest.raises(SourceError, match="gives no video"):
            NetworkCamera(server.url, "cam")
    with pytest.raises(SourceError, match="can't be reached"):
        NetworkCamera(server.url, "cam")  # the server has gone


def test_a_read_is_bounded() -> None:
    with MjpegServer() as server:
        camera = NetworkCamera(server.url, "cam")
        assert camera.read() is not None
        server.mode = "stall"
        with pytest.raises(TimeoutError, match="no frame in 2 s"):
            while True:
                camera.read()
        camera.close()


@pytest.mark.parametrize(
    ("mode", "condition", "reason"),
    [
        ("stall", "stalled", "no frame"),
        ("close", "lost", "ended"),
        ("garbage", "lost", ""),
        ("black", "stalled", "black"),
        ("frozen", "stalled", "frozen"),
        ("missing", "lost", "gives no video"),
    ],
)
def test_each_fault_is_noticed_and_the_camera_taken_back(mode: Mode, condition: str, reason: str) -> None:
    with MjpegServer() as server, watching(server.url) as (thread, slot):
        until(lambda: thread.condition == "ok")
        if mode == "missing":  # only a new request can be answered so
            server.mode = "close"
            until(lambda: thread.condition == "lost")
        server.mode = mode
        until(lambda: thread.condition == condition and reason in thread.reason, mode)
        connections = server.connections
        until(lambda: server.connections >= connections + 2, "goes on trying")
        assert "\n" not in thread.reason
        server.mode = "ok"
        until(lambda: thread.condition == "ok")
        slot.clear()
        assert slot.take(60) is not None


@pytest.mark.parametrize("mode", ["truncated", "large"])
def test_damaged_pictures_and_a_new_resolution_are_survived(mode: Mode) -> None:
    with MjpegServer() as server, watching(server.url) as (thread, slot):
        until(lambda: thread.condition == "ok")
        server.mode = mode
        for _ in range(20):
            frame = slot.take(60)
            assert frame is not None
            assert frame.image.ndim == 3
        server.mode = "ok"
        until(lambda: thread.condition == "ok")
        frame = slot.take(60)
        assert frame is not None
        assert frame.image.std() > 10
    assert thread.exception is None


def test_a_server_that_restarts_is_found_again() -> None:
    with MjpegServer() as server, watching(server.url) as (thread, _):
        until(lambda: thread.condition == "ok")
        server.mode = "close"
        until(lambda: thread.condition == "lost")
        until(lambda: server.open_connections == 0)
        server.mode = "ok"
        until(lambda: thread.condition == "ok")


def test_thirty_real_reopenings_leak_no_thread_no_descriptor_and_no_memory() -> None:
    def rss_mb() -> float:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20

    with MjpegServer(fps=50) as server, watching(server.url) as (thread, _):

        def reopen() -> None:
            server.mode = "close"
            until(lambda: thread.condition == "lost")
            server.mode = "ok"
            until(lambda: thread.condition == "ok" and server.open_connections == 1)

        for _ in range(5):  # the decoder's own pools fill
            reopen()
        descriptors_before, threads_before, memory_before = descriptors(), native_threads(), rss_mb()
        for _ in range(30):
            reopen()
        until(lambda: descriptors() <= descriptors_before, "descriptors as before")
        until(lambda: native_threads() <= threads_before, "threads as before")
        assert rss_mb() - memory_before < 20
        assert len(camera_threads()) == 2


def test_rotation_is_applied_to_what_is_opened() -> None:
    with MjpegServer() as server:
        server.mode = "frozen"
        plain = open_source(CameraSettings(source=server.url)).read()
        for degrees, turns in [(90, -1), (180, 2), (270, 1)]:
            source = open_source(CameraSettings(source=server.url, rotate_deg=degrees))
            turned = source.read()
            assert source.live
            source.close()
            assert plain is not None
            assert turned is not None
            assert np.array_equal(turned.image, np.rot90(plain.image, turns))


def test_a_process_ends_while_a_read_hangs_in_c(tmp_path: Path) -> None:
    program = """
import sys
from edge.cameras.open import open_source
from edge.cameras.thread import CameraThread
from edge.frame_slot import LatestFrame
from edge.settings import CameraSettings

settings, slot = CameraSettings(source=sys.argv[1]), LatestFrame()
thread = CameraThread(lambda: open_source(settings), settings, slot)
thread.start()
slot.take(60)
print("frame", flush=True)
sys.stdin.readline()
thread.close(timeout_s=0.05)
print("closed", flush=True)
"""
    with MjpegServer() as server:
        child = subprocess.Popen(
            [sys.executable, "-c", program, server.url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stdout.readline() == "frame\n"
        server.mode = "stall"
        time.sleep(0.2)  # not for luck: whichever side of the stall it ends on, it must end
        output, _ = child.communicate("stalled\n", timeout=120)
    assert output == "closed\n"
    assert child.returncode == 0
