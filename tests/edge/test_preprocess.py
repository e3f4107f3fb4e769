"""Crop geometry: exact where it can be, and never empty whatever a detector says."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edge.bundle import FER_CROPS, CropGeometry
from edge.preprocess import ROLL_LIMIT_DEG, crop_face, crop_square, resize_grey, roll_deg, to_grey
from edge.records import Box, Face, Landmarks

IDENTITY = CropGeometry(1.0, "height")


def ramp(height: int, width: int) -> NDArray[np.uint8]:
    """Every pixel different from its neighbours, so that a shift by one shows."""
    rows, columns = np.mgrid[:height, :width]
    return ((rows * 7 + columns * 3) % 256).astype(np.uint8)


def test_the_square_keeps_the_centre_and_takes_the_named_side() -> None:
    box = Box(100, 50, 80, 120)
    tall = crop_square(box, FER_CROPS["yunet"])
    assert (tall.width, tall.height) == pytest.approx((117.6, 117.6))
    assert tall.centre == pytest.approx(box.centre)
    wide = crop_square(box, FER_CROPS["haar"])
    assert (wide.width, wide.height) == pytest.approx((87.2, 87.2))
    assert wide.centre == pytest.approx(box.centre)


def test_a_crop_inside_the_frame_is_that_part_of_it() -> None:
    image = ramp(100, 120)
    crop = crop_face(image, Face(Box(30, 20, 48, 48), 1.0), IDENTITY, 48, 48)
    assert np.array_equal(crop, image[20:68, 30:78])


def test_over_the_edge_the_last_pixels_repeat() -> None:
    image = ramp(100, 120)
    crop = crop_face(image, Face(Box(-10, 70, 48, 48), 1.0), IDENTITY, 48, 48)
    assert np.array_equal(crop[:30, 10:], image[70:, :38])
    assert np.array_equal(crop[:30, :10], np.repeat(image[70:, :1], 10, axis=1))
    assert np.array_equal(crop[30:], np.repeat(crop[29:30], 18, axis=0))


def test_colour_and_grey_frames_give_the_same_crop() -> None:
    image = ramp(100, 120)
    face = Face(Box(-10, 70, 61, 61), 1.0)
    colour = crop_face(np.dstack([image] * 3), face, IDENTITY, 48, 48)
    assert np.array_equal(colour, crop_face(image, face, IDENTITY, 48, 48))


def test_grey_weighs_blue_green_red_in_opencvs_order() -> None:
    pure = np.zeros((1, 3, 3), np.uint8)
    pure[0, 0, 0] = pure[0, 1, 1] = pure[0, 2, 2] = 255
    assert to_grey(pure).tolist() == [[29, 150, 76]]
    assert to_grey(np.dstack([pure, np.full((1, 3), 255, np.uint8)])).tolist() == [[29, 150, 76]]
    assert to_grey(pure[:, :, :1]).shape == (1, 3)


def test_resizing_keeps_the_mean_and_a_right_sized_picture() -> None:
    picture = ramp(96, 96)
    assert resize_grey(picture, 96, 96) is picture
    assert resize_grey(picture, 48, 48).mean() == pytest.approx(picture.mean(), abs=1)
    assert resize_grey(picture, 64, 32).shape == (64, 32)


def test_a_small_face_keeps_its_detail_when_it_is_enlarged() -> None:
    """Waves of 8 pixels, shrunk to half and enlarged again, come nearer to what they were than a linear enlargement."""
    y, x = np.mgrid[:48, :48]
    picture = np.rint(128 + 100 * np.sin(x * np.pi / 4) * np.cos(y * np.pi / 4)).astype(np.uint8)
    small = resize_grey(picture, 24, 24)
    linear = cv2.resize(small, (48, 48), interpolation=cv2.INTER_LINEAR)
    lost = np.abs(resize_grey(small, 48, 48).astype(float) - picture).mean()
    assert lost < 0.8 * np.abs(linear.astype(float) - picture).mean()


COORDINATES = st.floats(-2000, 2000, allow_nan=False)
SIDES = st.floats(0, 1500, allow_nan=False)


@settings(max_examples=60, deadline=None)
@given(
    box=st.builds(Box, COORDINATES, COORDINATES, SIDES, SIDES),
    size=st.tuples(st.integers(1, 200), st.integers(1, 200)),
    colour=st.booleans(),
    wanted=st.sampled_from([(48, 48), (64, 64), (96, 48)]),
    roll=st.floats(-180, 180),
)
def test_a_crop_is_never_empty_and_holds_only_the_frames_greys(
    box: Box, size: tuple[int, int], colour: bool, wanted: tuple[int, int], roll: float
) -> None:
    image = np.full((*size, 3) if colour else size, 200, np.uint8)
    crop = crop_face(image, Face(box, 1.0), FER_CROPS["yunet"], *wanted, roll)
    assert crop.shape == wanted and crop.dtype == np.uint8
    assert (crop == 200).all()


def test_roll_is_the_angle_of_the_eyes_in_the_picture() -> None:
    def eyes(right: tuple[float, float], left: tuple[float, float]) -> Landmarks:
        return Landmarks(right, left, (50, 50), (40, 60), (60, 60))

    assert roll_deg(eyes((40, 40), (60, 40))) == 0.0
    assert roll_deg(eyes((40, 40), (60, 60))) == pytest.approx(45.0)
    assert roll_deg(eyes((40, 40), (60, 20))) == pytest.approx(-45.0)


@pytest.mark.parametrize("angle", [-40.0, -20.0, 20.0, 40.0])
def test_a_tilted_head_is_turned_upright(angle: float) -> None:
    """A picture turned by ``angle`` and cropped with that roll gives the crop of the upright picture."""
    blobs = cv2.GaussianBlur(np.random.default_rng(0).random((200, 200)), (0, 0), 4)
    upright = np.interp(blobs, (blobs.min(), blobs.max()), (0, 255)).astype(np.uint8)
    # OpenCV's positive angles are anticlockwise, a positive roll is clockwise.
    matrix = cv2.getRotationMatrix2D((100, 100), -angle, 1.0)
    tilted = np.asarray(cv2.warpAffine(upright, matrix, (200, 200)), np.uint8)
    face = Face(Box(60, 60, 80, 80), 1.0)
    expected = crop_face(upright, face, IDENTITY, 48, 48).astype(int)
    assert np.abs(crop_face(tilted, face, IDENTITY, 48, 48, angle) - expected).mean() < 5
    assert np.abs(crop_face(tilted, face, IDENTITY, 48, 48) - expected).mean() > 20


def test_a_small_tilt_is_left_alone() -> None:
    image, face = ramp(100, 100), Face(Box(20, 20, 50, 50), 1.0)
    assert np.array_equal(
        crop_face(image, face, IDENTITY, 48, 48, ROLL_LIMIT_DEG), crop_face(image, face, IDENTITY, 48, 48)
    )
