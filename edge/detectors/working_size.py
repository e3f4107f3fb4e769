"""Shrinks a frame to the size a detector works at."""

import cv2
import numpy as np
from numpy.typing import NDArray


def shrink(image: NDArray[np.uint8], width_px: int) -> tuple[NDArray[np.uint8], float, float]:
    """image: (H, W, 3) uint8. The picture at most ``width_px`` wide, never enlarged, and the factors by which x and y
    in it are multiplied to give pixels of ``image``."""
    height, width = image.shape[:2]
    if width <= width_px:
        return image, 1.0, 1.0
    small_height = max(1, round(height * width_px / width))
    small = cv2.resize(image, (width_px, small_height), interpolation=cv2.INTER_AREA)
    return np.asarray(small, dtype=np.uint8), width / width_px, height / small_height
