"""What the adapters over cv2.VideoCapture share: quiet opening, one picture layout, the two clocks."""

import os
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.errors import SourceError
from edge.records import Frame

# OpenCV logs what it also returns or raises, addresses included; OpenCV 4.12 moved the function.
_set_log_level = getattr(cv2, "setLogLevel", None) or cv2.utils.logging.setLogLevel
if "OPENCV_LOG_LEVEL" not in os.environ:
    _set_log_level(0)


def open_capture(address: str, backend: int, parameters: Sequence[int] = ()) -> cv2.VideoCapture | None:
    """A capture that is open, or None.

    The backend is always named: with CAP_ANY OpenCV tries one after another, image sequences and all.
    """
    # FFmpeg's own complaints (-8: AV_LOG_QUIET) are no use to a reader and may repeat the address.
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    try:
        capture = cv2.VideoCapture(address, backend, list(parameters))
    except cv2.error:
        return None
    if capture.isOpened():
        return capture
    capture.release()
    return None


def bgr(image: NDArray[Any] | None, name: str) -> NDArray[np.uint8]:
    """image: (H, W), (H, W, 1), (H, W, 3) BGR or (H, W, 4) BGRA, uint8 or uint16. Returns (H, W, 3) BGR uint8.

    Transparency is put on white. Raises SourceError where there is no pixel, or another layout.
    """
    if image is None or image.size == 0:
        raise SourceError(f"{name}: expected pictures with pixels, got an empty one (zero size); check the source")
    if image.dtype == np.uint16:
        image = (image >> 8).astype(np.uint8)
    if image.dtype != np.uint8 or image.ndim not in (2, 3):
        raise SourceError(f"{name}: expected 8 or 16 bit pictures, got {image.dtype} {image.shape}; convert it first")
    channels = 1 if image.ndim == 2 else image.shape[2]
    if channels == 3:
        return np.ascontiguousarray(image, dtype=np.uint8)
    if channels == 1:
        return np.asarray(cv2.cvtColor(image, cv2.COLOR_GRAY2BGR), dtype=np.uint8)
    if channels == 4:
        alpha = image[:, :, 3:].astype(np.uint16)
        blended: NDArray[np.uint16] = (image[:, :, :3] * alpha + 255 * (255 - alpha) + 127) // 255
        return blended.astype(np.uint8)
    raise SourceError(f"{name}: expected 1, 3 or 4 channels, got {channels}; convert it to colour or grey first")


def stamp(image: NDArray[np.uint8], sequence: int) -> Frame:
    """A frame taken now, on both clocks."""
    return Frame(image, time.monotonic(), datetime.now(UTC), sequence)
