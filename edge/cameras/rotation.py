"""Pictures of a camera that is mounted on its side or upside down."""

from dataclasses import replace

import cv2
import numpy as np

from edge.errors import ConfigError
from edge.interfaces import FrameSource
from edge.records import Frame

ROTATIONS = {90: cv2.ROTATE_90_CLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_COUNTERCLOCKWISE}


class Rotated:
    """Implements FrameSource: another source's frames turned ``rotate_deg`` (90, 180 or 270) clockwise."""

    def __init__(self, source: FrameSource, rotate_deg: int) -> None:
        if rotate_deg not in ROTATIONS:
            source.close()
            raise ConfigError(f"camera.rotate_deg: expected 0, 90, 180 or 270, got {rotate_deg}")
        self.name, self.live = source.name, source.live
        self._source, self._code = source, ROTATIONS[rotate_deg]

    def read(self) -> Frame | None:
        frame = self._source.read()
        if frame is None:
            return None
        return replace(frame, image=np.asarray(cv2.rotate(frame.image, self._code), dtype=np.uint8))

    def close(self) -> None:
        self._source.close()
