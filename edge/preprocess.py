"""Face crop to model input: the only implementation, used by the device, training and evaluation alike.

Crop geometry makes live crops look like FER-2013's: a square whose side is a measured multiple of the detector's box,
or of the eye-mouth distances where landmarks are given. The multiples travel in the bundle's card, one a detector.
"""

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.bundle import CropGeometry
from edge.records import Box, Face, Landmarks

ROLL_LIMIT_DEG = 15.0
"""Heads tilted less are left as they are: FER-2013's own roll varies by 8 degrees, and the shipped network loses 2
points at 20 degrees and 6 at 30 (``python -m benchmarks.quality``). YuNet's landmarks show a roll only on faces over
about 150 pixels in its working size (two thirds of it; a fifth at 100 pixels), so on smaller ones nothing is turned."""


def crop_square(box: Box, geometry: CropGeometry) -> Box:
    """The square to cut for a detector's box: ``geometry.scale`` times its width or height, same centre."""
    side = geometry.scale * (box.height if geometry.of == "height" else box.width)
    x, y = box.centre
    return Box(x - side / 2, y - side / 2, side, side)


def to_grey(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(H, W), (H, W, 1), (H, W, 3) BGR or (H, W, 4) BGRA uint8 to (H, W) uint8 grey."""
    if image.ndim == 2:
        return image
    if image.shape[2] == 1:
        return image[:, :, 0]
    code = cv2.COLOR_BGRA2GRAY if image.shape[2] == 4 else cv2.COLOR_BGR2GRAY
    return np.asarray(cv2.cvtColor(image, code), dtype=np.uint8)


def resize_grey(grey: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """(h, w) uint8 to (height, width) uint8; area averaging when shrinking, cubic when growing."""
    if grey.shape == (height, width):
        return grey
    shrinking = grey.shape[0] > height and grey.shape[1] > width
    interpolation = cv2.INTER_AREA if shrinking else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(grey, (width, height), interpolation=interpolation), dtype=np.uint8)


def roll_deg(landmarks: Landmarks) -> float:
    """The angle of the line of the eyes in degrees; positive where the head is turned clockwise in the picture."""
    (rx, ry), (lx, ly) = landmarks.right_eye, landmarks.left_eye
    return math.degrees(math.atan2(ly - ry, lx - rx))


def crop_face(
    image: NDArray[np.uint8], face: Face, geometry: CropGeometry, height: int, width: int, roll: float = 0.0
) -> NDArray[np.uint8]:
    """Cut a face out of a frame as the classifier wants it.

    image: (H, W, 3) BGR or (H, W) grey uint8. roll: the head's roll in degrees, smoothed over frames; beyond
    ``ROLL_LIMIT_DEG`` the crop is turned upright. Returns (height, width) uint8 grey. A square that reaches over the
    frame's edge is filled by repeating the edge pixels, so a negative corner never crops to nothing.
    """
    square = crop_square(face.box, geometry)
    side = max(1, round(square.width))
    if abs(roll) > ROLL_LIMIT_DEG:
        return resize_grey(_turned(to_grey(image), square.centre, side, roll), height, width)
    return resize_grey(_cut(image, round(square.left), round(square.top), side), height, width)


def _cut(image: NDArray[np.uint8], left: int, top: int, side: int) -> NDArray[np.uint8]:
    """The (side, side) square at ``left``, ``top`` as grey; beyond the frame its edge pixels are repeated."""
    bottom, right = top + side, left + side
    inner_top, inner_left = max(top, 0), max(left, 0)
    inner_bottom, inner_right = min(bottom, image.shape[0]), min(right, image.shape[1])
    if inner_top >= inner_bottom or inner_left >= inner_right:  # wholly outside: nothing but edge pixels
        rows = np.clip(np.arange(top, bottom), 0, image.shape[0] - 1)
        columns = np.clip(np.arange(left, right), 0, image.shape[1] - 1)
        return to_grey(image[np.ix_(rows, columns)])
    grey = to_grey(image[inner_top:inner_bottom, inner_left:inner_right])
    if grey.shape == (side, side):
        return grey
    margins = (inner_top - top, bottom - inner_bottom, inner_left - left, right - inner_right)
    return np.asarray(cv2.copyMakeBorder(grey, *margins, cv2.BORDER_REPLICATE), dtype=np.uint8)


def _turned(grey: NDArray[np.uint8], centre: tuple[float, float], side: int, roll: float) -> NDArray[np.uint8]:
    """The (side, side) square around ``centre``, turned so that a head with ``roll`` degrees stands upright."""
    matrix = cv2.getRotationMatrix2D(centre, roll, 1.0)
    matrix[0, 2] += side / 2 - centre[0]
    matrix[1, 2] += side / 2 - centre[1]
    turned = cv2.warpAffine(grey, matrix, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(turned, dtype=np.uint8)
