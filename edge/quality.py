"""Whether a face can be judged at all. A guess about a blur is worse than ``unknown``.

The limits are in JudgementSettings; ``python -m benchmarks.quality`` measures what each costs.
"""

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.preprocess import resize_grey
from edge.records import Face, Landmarks
from edge.settings import JudgementSettings

_SIDE = 48
"""Sharpness is measured at FER-2013's size, whatever the network's input is."""


def sharpness(crop: NDArray[np.uint8]) -> float:
    """Variance of the Laplacian (Pech-Pacheco 2000) as a share of the picture's own variance, at 48x48.

    The share makes it independent of contrast: a pale face is not a blurred one. crop: (H, W) uint8 grey; 0 for an
    even picture.
    """
    small = resize_grey(crop, _SIDE, _SIDE)
    _, detail = cv2.meanStdDev(cv2.Laplacian(small, cv2.CV_32F))
    _, contrast = cv2.meanStdDev(small)
    return float(detail[0, 0] ** 2 / max(contrast[0, 0] ** 2, 1.0))


def yaw(landmarks: Landmarks) -> float:
    """How far the nose is off the middle between the eyes, along the line of the eyes, as a share of their distance.

    0 looking straight on; positive where the nose is towards the picture's right. Roll does not matter.
    """
    (rx, ry), (lx, ly), (nx, ny) = landmarks.right_eye, landmarks.left_eye, landmarks.nose
    ex, ey = lx - rx, ly - ry
    squared = ex * ex + ey * ey
    if squared < 1e-6:
        return math.inf
    return ((nx - (rx + lx) / 2) * ex + (ny - (ry + ly) / 2) * ey) / squared


def why_not_judged(face: Face, crop: NDArray[np.uint8], settings: JudgementSettings) -> str | None:
    """``small``, ``turned``, ``dark`` or ``blurred``, else None.

    crop: (H, W) uint8 grey, as the classifier would get it.
    """
    if face.box.height < settings.min_face_px:
        return "small"
    if face.landmarks is not None and abs(yaw(face.landmarks)) > settings.max_yaw:
        return "turned"
    if float(crop.mean()) < settings.min_brightness:
        return "dark"
    if sharpness(crop) < settings.min_sharpness:
        return "blurred"
    return None
