"""Draws boxes and labels on a copy of a picture."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.records import Box

GREEN, GREY, BLACK = (60, 200, 60), (170, 170, 170), (0, 0, 0)
"""BGR."""
FONT = cv2.FONT_HERSHEY_SIMPLEX
SMALLEST, LARGEST = 0.5, 0.75
"""Scale of the font in a picture of 1000 pixels: a label is as wide as its box where that lies between."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A face's box in pixels and what to write at it; grey where it was not judged."""

    box: Box
    text: str
    judged: bool


def annotate(image: NDArray[np.uint8], marks: Sequence[Mark]) -> NDArray[np.uint8]:
    """image: (H, W, 3) BGR uint8, left as it is. A copy with the marks, their size following the picture's."""
    picture = image.copy()
    height, width = picture.shape[:2]
    unit = max(1.0, max(height, width) / 1000)
    sizes, fonts = [], []
    for mark in marks:
        text_width, _ = cv2.getTextSize(mark.text, FONT, 1.0, 1)[0]
        scale = min(max(SMALLEST * unit, mark.box.width / text_width), LARGEST * unit)
        thickness = max(1, round(2 * scale))
        (text_width, text_height), base = cv2.getTextSize(mark.text, FONT, scale, thickness)
        margin = 2 * thickness
        sizes.append((text_width + 2 * margin, text_height + base + margin))
        fonts.append((scale, thickness, margin, base))
        corner = (round(mark.box.left), round(mark.box.top))
        opposite = (round(mark.box.left + mark.box.width), round(mark.box.top + mark.box.height))
        cv2.rectangle(picture, corner, opposite, GREEN if mark.judged else GREY, max(1, round(2 * unit)))
    # Labels last, so that no neighbour's box runs through one.
    corners = place_labels([mark.box for mark in marks], sizes, width, height)
    for mark, (left, top), (label_width, label_height), font in zip(marks, corners, sizes, fonts, strict=True):
        scale, thickness, margin, base = font
        opposite = (left + label_width, top + label_height)
        cv2.rectangle(picture, (left, top), opposite, GREEN if mark.judged else GREY, cv2.FILLED)
        foot = (left + margin, top + label_height - base)
        cv2.putText(picture, mark.text, foot, FONT, scale, BLACK, thickness, cv2.LINE_AA)
    return picture


def place_labels(
    boxes: Sequence[Box], sizes: Sequence[tuple[int, int]], width: int, height: int
) -> list[tuple[int, int]]:
    """Left and top of each label of (width, height) pixels: above or below its box, along its left or right side,
    wherever it hides least of faces and earlier labels; inside a picture of ``width`` times ``height`` with room."""
    faces = [Box(round(box.left), round(box.top), round(box.width), round(box.height)) for box in boxes]
    labels: list[Box] = []
    for face, (wide, high) in zip(faces, sizes, strict=True):
        places = [
            Box(max(0, min(left, width - wide)), max(0, min(top, height - high)), wide, high)
            for top in (face.top - high, face.top + face.height)
            for left in (face.left, face.left + face.width - wide)
        ]
        labels.append(min(places, key=lambda place: sum(place.common_area(other) for other in (*faces, *labels))))
    return [(round(label.left), round(label.top)) for label in labels]
