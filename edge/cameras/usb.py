"""A USB (or any V4L2) camera."""

import os
import time
from pathlib import Path
from typing import Any

import cv2
from numpy.typing import NDArray

from edge.cameras.capture import bgr, open_capture, stamp
from edge.errors import SourceError
from edge.records import Frame
from edge.settings import CameraSettings

READ_S = 3.0
"""Bound of one read; OpenCV's own is 10 s (OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT)."""
MAX_RAW_PIXELS = 640 * 480
"""Above this a USB 2 camera needs MJPG to keep its frame rate."""


class UsbCamera:
    """Implements FrameSource over V4L2. ``device``: a node such as /dev/video0 or a link in /dev/v4l/by-id, which stays
    the same when cameras are plugged in another order. The camera may give another size than asked for: frames tell.

    Raises SourceError where the device is missing, busy, not permitted, or not a camera.
    """

    live = True

    def __init__(self, device: Path, settings: CameraSettings, name: str = "") -> None:
        self.name = name or str(device)
        if not device.exists():
            present = ", ".join(sorted(str(node) for node in Path("/dev").glob("video*"))) or "none"
            raise SourceError(f"{device}: no such camera (present: {present}); plug it in or name another one")
        if not os.access(device, os.R_OK | os.W_OK):
            raise SourceError(f"{device}: no permission; add this user to the group video (usermod -aG video USER)")
        capture = open_capture(str(device), cv2.CAP_V4L2)
        if capture is None:
            raise SourceError(f"{device}: busy, or not a camera; see who has it with: fuser -v {device}")
        if settings.width * settings.height > MAX_RAW_PIXELS:
            capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG"))
        capture.set(cv2.CAP_PROP_FRAME_WIDTH, settings.width)
        capture.set(cv2.CAP_PROP_FRAME_HEIGHT, settings.height)
        capture.set(cv2.CAP_PROP_FPS, settings.fps)
        self._capture: cv2.VideoCapture | None = capture
        self._sequence = 0

    def read(self) -> Frame | None:
        """The next frame. Raises TimeoutError after a silent READ_S, SourceError when the camera is gone."""
        if self._capture is None:
            raise SourceError(f"{self.name}: read after close")
        begin_s = time.monotonic()
        decoded, image = self._capture.read()
        if not decoded:
            # After an unplug this comes at once, while isOpened() stays true.
            if time.monotonic() - begin_s >= READ_S:
                raise TimeoutError(f"{self.name}: no frame in {READ_S:.0f} s")
            raise SourceError(f"{self.name}: lost; plug the camera in again, or look at its cable and power")
        frame = stamp(bgr(self._unrolled(image), self.name), self._sequence)
        self._sequence += 1
        return frame

    def _unrolled(self, image: NDArray[Any]) -> NDArray[Any]:
        """OpenCV 4.11 gives cameras that speak BGR24 as one long row; 4.14 does not."""
        if self._capture is None or image.ndim != 2 or image.shape[0] != 1:
            return image
        width = int(self._capture.get(cv2.CAP_PROP_FRAME_WIDTH))
        height = int(self._capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
        if image.size != width * height * 3:
            raise SourceError(
                f"{self.name}: expected {width}x{height} pictures, got {image.size} bytes of another format"
            )
        return image.reshape(height, width, 3)

    def close(self) -> None:
        """Release the device. Idempotent."""
        if self._capture is not None:
            self._capture.release()
            self._capture = None
