"""One layout for every picture."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from edge.cameras.capture import bgr
from edge.errors import SourceError

shapes = st.tuples(st.integers(1, 9), st.integers(1, 9)).flatmap(
    lambda hw: st.sampled_from([hw, (*hw, 1), (*hw, 3), (*hw, 4)])
)


@given(npst.arrays(st.sampled_from([np.uint8, np.uint16]), shapes))
def test_every_layout_becomes_bgr_of_the_same_size(image: np.ndarray) -> None:
    out = bgr(image, "x")
    assert out.shape == (*image.shape[:2], 3)
    assert out.dtype == np.uint8
    assert out.flags.c_contiguous


@given(npst.arrays(np.uint8, (3, 4, 4)))
def test_alpha_blends_onto_white(image: np.ndarray) -> None:
    alpha = image[..., 3:] / 255
    assert np.abs(bgr(image, "x") - (image[..., :3] * alpha + 255 * (1 - alpha))).max() <= 0.5 + 1e-9


@pytest.mark.parametrize("image", [None, np.zeros((0, 5, 3), np.uint8), np.zeros((5, 0, 3), np.uint8), np.zeros(0)])
def test_a_zero_size_picture_is_named(image: np.ndarray | None) -> None:
    with pytest.raises(SourceError, match=r"cam: .*zero size"):
        bgr(image, "cam")


@pytest.mark.parametrize(
    "image", [np.zeros((5, 5, 3), np.float32), np.zeros((5, 5, 2), np.uint8), np.zeros(5, np.uint8)]
)
def test_other_layouts_are_refused(image: np.ndarray) -> None:
    with pytest.raises(SourceError, match=r"cam: expected"):
        bgr(image, "cam")
