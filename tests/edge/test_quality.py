"""Which faces are not judged, and that the measures follow what they are about."""

import math
from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from edge.bundle import FER_CROPS
from edge.detectors.yunet import YunetDetector
from edge.preprocess import crop_face
from edge.quality import sharpness, why_not_judged, yaw
from edge.records import Box, Face, Landmarks
from edge.settings import JudgementSettings
from tests import devdata

SETTINGS = JudgementSettings()
FRONTAL = Landmarks((40, 40), (60, 40), (50, 50), (42, 65), (58, 65))
FACE = Face(Box(20, 20, 60, 80), 0.9, FRONTAL)


def textured(contrast: float = 1.0, brightness: float = 128.0) -> NDArray[np.uint8]:
    """Like a face, it has coarse shapes and fine detail; (48, 48) uint8."""
    noise = np.random.default_rng(0).normal(0, 1, (48, 48))
    coarse, fine = (cv2.GaussianBlur(noise, (0, 0), sigma) for sigma in (8.0, 1.0))
    grey = brightness + contrast * (30 * coarse / coarse.std() + 15 * fine / fine.std())
    return np.clip(np.rint(grey), 0, 255).astype(np.uint8)


def blur(picture: NDArray[np.uint8], sigma: float) -> NDArray[np.uint8]:
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), sigma), np.uint8)


def test_a_good_face_is_judged_with_and_without_landmarks() -> None:
    assert why_not_judged(FACE, textured(), SETTINGS) is None
    assert why_not_judged(replace(FACE, landmarks=None), textured(), SETTINGS) is None


def test_each_reason() -> None:
    small = replace(FACE, box=Box(20, 20, 60, SETTINGS.min_face_px - 1))
    assert why_not_judged(small, textured(), SETTINGS) == "small"
    turned = replace(FACE, landmarks=replace(FRONTAL, nose=(50 + 20 * SETTINGS.max_yaw + 1, 50)))
    assert why_not_judged(turned, textured(), SETTINGS) == "turned"
    dark = textured(contrast=0.1, brightness=SETTINGS.min_brightness - 5)
    assert why_not_judged(FACE, dark, SETTINGS) == "dark"
    assert why_not_judged(FACE, blur(textured(), 5), SETTINGS) == "blurred"
    assert why_not_judged(FACE, np.full((48, 48), 128, np.uint8), SETTINGS) == "blurred"


def test_sharpness_falls_with_blur_and_not_with_contrast() -> None:
    measured = [sharpness(blur(textured(), sigma)) for sigma in (0.5, 1, 2, 4)]
    assert measured == sorted(measured, reverse=True)
    assert sharpness(textured(contrast=0.3)) == pytest.approx(sharpness(textured()), rel=0.1)
    assert sharpness(np.zeros((48, 48), np.uint8)) == 0.0


def test_sharpness_is_measured_at_one_size() -> None:
    large = np.asarray(cv2.resize(textured(), (96, 96), interpolation=cv2.INTER_NEAREST), np.uint8)
    assert sharpness(large) == pytest.approx(sharpness(textured()))


@given(st.floats(-0.6, 0.6), st.floats(-180, 180), st.floats(5, 500))
def test_yaw_does_not_depend_on_roll_or_size(offset: float, roll: float, distance: float) -> None:
    c, s = math.cos(math.radians(roll)), math.sin(math.radians(roll))

    def place(x: float, y: float) -> tuple[float, float]:
        return 300 + distance * (x * c - y * s), 200 + distance * (x * s + y * c)

    points = Landmarks(place(-0.5, 0), place(0.5, 0), place(offset, 0.6), place(-0.4, 1), place(0.4, 1))
    assert yaw(points) == pytest.approx(offset, abs=1e-6)


def test_eyes_in_one_place_are_turned_away() -> None:
    assert yaw(replace(FRONTAL, left_eye=FRONTAL.right_eye)) == math.inf


def reasons(name: str, every: int, settings: JudgementSettings = SETTINGS) -> list[str | None]:
    """What is said of the best face in each frame of a real clip."""
    detector = YunetDetector(devdata.yunet())
    capture = cv2.VideoCapture(str(devdata.media(name)))
    found: list[str | None] = []
    while True:
        good, image = capture.read()
        if not good:
            return found[::every]
        frame = np.asarray(image, np.uint8)
        face = detector.detect(frame)[0]
        found.append(why_not_judged(face, crop_face(frame, face, FER_CROPS["yunet"], 48, 48), settings))


def test_real_faces_are_judged_and_a_head_turned_away_is_not() -> None:
    assert set(reasons("single_face.mp4", 8)) == {None}
    # In the first six frames she looks far to the side; from the eighth to the twentieth she faces the camera.
    turning = reasons("head-pose-face-detection-female.gif", 1, replace(SETTINGS, max_yaw=0.4))
    assert turning[:6] == ["turned"] * 6
    assert turning[8:20] == [None] * 12
