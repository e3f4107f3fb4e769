"""Haar cascade (Viola & Jones 2001): the detector that needs nothing to be downloaded.

It loses heads tilted over 20 degrees and sees static false faces, which ``TrackingSettings.min_hits`` filters.
"""

from importlib import import_module
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.detectors.working_size import shrink
from edge.errors import RuntimeUnavailableError
from edge.preprocess import to_grey
from edge.records import Box, Face

_CASCADE = "haarcascade_frontalface_alt2.xml"
_SCALE_FACTOR, _MIN_NEIGHBOURS, _MIN_SIZE_PX = 1.2, 3, 24
"""Measured on 53 photos with 272 faces at 640x480: recall .88 with 2 false faces (alt 1.1/5: .91 with 19)."""


class HaarDetector:
    """A FaceDetector over OpenCV's own frontalface_alt2. No landmarks; confidence is always 1.

    Raises RuntimeUnavailableError where this OpenCV has no cascades (version 5 dropped them).
    """

    name = "haar"

    def __init__(self, working_width_px: int = 320) -> None:
        self._working_width_px = working_width_px
        try:
            path = Path(import_module("cv2.data").haarcascades) / _CASCADE
            self._cascade = cv2.CascadeClassifier(str(path))
            loaded = not self._cascade.empty()
        except (ImportError, AttributeError, cv2.error):
            loaded = False
        if not loaded:
            raise RuntimeUnavailableError(
                f"expected {_CASCADE} inside OpenCV, but OpenCV {cv2.__version__} has none; "
                "install opencv-python-headless 4.x, or use YuNet"
            )

    def detect(self, image: NDArray[np.uint8]) -> list[Face]:
        """image: (H, W, 3) BGR uint8. Faces in its pixels, largest first."""
        small, scale_x, scale_y = shrink(image, self._working_width_px)
        found = self._cascade.detectMultiScale(
            to_grey(small), _SCALE_FACTOR, _MIN_NEIGHBOURS, minSize=(_MIN_SIZE_PX, _MIN_SIZE_PX)
        )
        boxes = [
            Box(x * scale_x, y * scale_y, w * scale_x, h * scale_y)
            for x, y, w, h in np.reshape(found, (-1, 4)).tolist()
        ]
        return [Face(box, 1.0) for box in sorted(boxes, key=lambda box: -box.area)]

    def close(self) -> None:
        """Nothing to release."""
