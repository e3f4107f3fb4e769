"""RTSP over TCP against GStreamer's real server (Debian: gir1.2-gst-rtsp-server-1.0, gstreamer1.0-plugins-good)."""

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edge.cameras.network import NetworkCamera
from edge.cameras.open import open_source
from edge.cameras.source import parse_source
from edge.cameras.thread import CameraThread
from edge.errors import SourceError
from edge.frame_slot import LatestFrame
from edge.settings import CameraSettings
from tests.edge.cameras.waiting import camera_threads, descriptors, until

SERVER = Path(__file__).with_name("rtsp_server.py")
PYTHON = "/usr/bin/python3"
NEEDS = "gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-base gstreamer1.0-plugins-good python3-gi"
IMPORTS = """
import gi
gi.require_version("GstRtspServer", "1.0")
from gi.repository import Gst, GstRtspServer
Gst.init(None)
raise SystemExit(not all(map(Gst.ElementFactory.find, ("videotestsrc", "jpegenc", "rtpjpegpay"))))
"""


@pytest.fixture(scope="module", autouse=True)
def _installed() -> None:
    try:
        ready = subprocess.run([PYTHON, "-c", IMPORTS], capture_output=True, timeout=120).returncode == 0
    except FileNotFoundError:
        ready = False
    if not ready:
        pytest.skip(f"no RTSP server: apt install {NEEDS}")


@contextmanager
def rtsp_server(*credentials: str, port: int = 0) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    child = subprocess.Popen(
        [PYTHON, str(SERVER), str(port), *credentials], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        yield f"rtsp://127.0.0.1:{int(child.stdout.readline())}/live", child
    finally:
        child.send_signal(signal.SIGCONT)
        child.kill()
        child.wait(60)
        child.stdin.close()
        child.stdout.close()


def test_frames_with_user_and_password_which_are_shown_nowhere(capfd: pytest.CaptureFixture[str]) -> None:
    with rtsp_server("viewer", "Hunter2") as (url, _):
        source = parse_source(url.replace("//", "//viewer:Hunter2@"))
        camera = NetworkCamera(source.address, source.name)
        frames = [frame for _ in range(5) if (frame := camera.read())]
        camera.close()
        assert {frame.image.shape for frame in frames} == {(240, 320, 3)}
        assert frames[0].image.std() > 20
        assert camera.name == url
        with pytest.raises(SourceError, match="the user and the password") as caught:
            NetworkCamera(url.replace("//", "//viewer:Wrong2@"), url)
    assert not {"Hunter2", "Wrong2", "viewer"} & set(str(caught.value).split())
    assert "2@" not in capfd.readouterr().err


def test_a_server_that_freezes_dies_and_returns() -> None:
    with rtsp_server() as (url, server):
        port = url.split(":")[2].split("/")[0]
        settings = CameraSettings(source=url, reopen_min_s=0.05, reopen_max_s=0.2)
        slot = LatestFrame()
        thread = CameraThread(lambda: open_source(settings), settings, slot)
        thread.start()
        until(lambda: thread.condition == "ok")
        before = descriptors()
        server.send_signal(signal.SIGSTOP)
        until(lambda: thread.condition == "stalled")
        assert "no frame" in thread.reason
        server.send_signal(signal.SIGCONT)
        until(lambda: thread.condition == "ok")
        server.kill()
        server.wait(60)
        until(lambda: thread.condition == "lost")
        until(lambda: "can't be reached" in thread.reason)
        with rtsp_server(port=int(port)):
            until(lambda: thread.condition == "ok")
            slot.clear()
            assert slot.take(60) is not None
            assert descriptors() <= before + 5  # the second server's pipes
        assert thread.close(timeout_s=60)
    assert not camera_threads()
