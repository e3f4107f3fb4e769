"""The USB adapter as far as it goes without a camera: what it says, and what it makes of V4L2's answers."""

import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edge.cameras import usb
from edge.cameras.open import open_source
from edge.cameras.usb import UsbCamera
from edge.errors import SourceError
from edge.settings import CameraSettings


class Capture:
    """cv2.VideoCapture as V4L2 shows itself: read() is False at once after an unplug, isOpened() stays true."""

    def __init__(self) -> None:
        self.answers: list[Any] = []
        self.settings: dict[int, float] = {}
        self.released = 0

    def set(self, setting: int, value: float) -> bool:
        self.settings[setting] = value
        return True

    def read(self) -> tuple[bool, Any]:
        answer = self.answers.pop(0)
        if isinstance(answer, float):
            time.sleep(answer)
            return False, None
        return answer is not None, answer

    def get(self, setting: int) -> float:
        return {cv2.CAP_PROP_FRAME_WIDTH: 64.0, cv2.CAP_PROP_FRAME_HEIGHT: 48.0}[setting]

    def release(self) -> None:
        self.released += 1


@pytest.fixture
def capture(monkeypatch: pytest.MonkeyPatch) -> Capture:
    capture = Capture()
    monkeypatch.setattr(usb, "open_capture", lambda address, backend, parameters=(): capture)
    return capture


def test_missing_and_wrong_devices_are_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"/dev/video97: no such camera \(present: "):
        open_source(CameraSettings(source="usb:97"))
    plain = tmp_path / "file"
    plain.touch()
    with pytest.raises(SourceError, match="busy, or not a camera"):
        UsbCamera(plain, CameraSettings())


def test_no_permission_names_the_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    device = tmp_path / "video0"
    device.touch()
    monkeypatch.setattr("os.access", lambda path, mode: False)
    with pytest.raises(SourceError, match="usermod -aG video"):
        UsbCamera(device, CameraSettings())


def test_frames_grey_too_and_a_changed_size(tmp_path: Path, capture: Capture) -> None:
    device = tmp_path / "video0"
    device.touch()
    camera = UsbCamera(device, CameraSettings(width=1280, height=720, fps=10))
    capture.answers = [np.ones((48, 64, 3), np.uint8), np.ones((48, 64), np.uint8), np.ones((24, 32, 3), np.uint8)]
    frames = [frame for _ in range(3) if (frame := camera.read())]
    assert [(frame.sequence, frame.image.shape) for frame in frames] == [
        (0, (48, 64, 3)),
        (1, (48, 64, 3)),
        (2, (24, 32, 3)),
    ]
    assert capture.settings[cv2.CAP_PROP_FRAME_WIDTH] == 1280
    assert capture.settings[cv2.CAP_PROP_FPS] == 10
    assert capture.settings[cv2.CAP_PROP_FOURCC] == cv2.VideoWriter.fourcc(*"MJPG")
    camera.close()
    camera.close()
    assert capture.released == 1
    with pytest.raises(SourceError, match="after close"):
        camera.read()


def test_an_unplug_is_a_loss_and_silence_a_timeout(
    tmp_path: Path, capture: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(usb, "READ_S", 0.2)
    device = tmp_path / "video0"
    device.touch()
    camera = UsbCamera(device, CameraSettings())
    capture.answers = [None, 0.25, np.zeros((0, 0, 3), np.uint8)]
    with pytest.raises(SourceError, match="plug the camera in again"):
        camera.read()
    with pytest.raises(TimeoutError):
        camera.read()
    with pytest.raises(SourceError, match="zero size"):
        camera.read()


def test_opencv_411s_bgr24_row_is_a_picture_again(tmp_path: Path, capture: Capture) -> None:
    device = tmp_path / "video0"
    device.touch()
    camera = UsbCamera(device, CameraSettings())
    picture = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    capture.answers = [picture.reshape(1, -1), np.zeros((1, 1000), np.uint8)]
    frame = camera.read()
    assert frame is not None
    assert np.array_equal(frame.image, picture)
    with pytest.raises(SourceError, match="expected 64x48 pictures, got 1000 bytes"):
        camera.read()
