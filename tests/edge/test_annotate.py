"""Annotated copies: every label lies in the picture and hides neither another label nor, where it can, a face."""

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edge.annotate import Mark, annotate, place_labels
from edge.records import Box

WIDTH, HEIGHT = 640, 480
SIZE = (100, 20)

boxes = st.builds(
    Box,
    st.floats(-50, WIDTH),
    st.floats(-50, HEIGHT),
    st.floats(5, WIDTH),
    st.floats(5, HEIGHT),
)


def overlap(one: tuple[int, int], other: tuple[int, int]) -> bool:
    return abs(one[0] - other[0]) < SIZE[0] and abs(one[1] - other[1]) < SIZE[1]


@given(st.lists(boxes, max_size=6))
def test_every_label_lies_in_the_picture(found: list[Box]) -> None:
    corners = place_labels(found, [SIZE] * len(found), WIDTH, HEIGHT)
    assert len(corners) == len(found)
    for left, top in corners:
        assert 0 <= left <= WIDTH - SIZE[0]
        assert 0 <= top <= HEIGHT - SIZE[1]


def test_above_the_face_else_below_it() -> None:
    face, at_the_top = Box(200, 200, 80, 80), Box(400, 0, 80, 80)
    above, below = place_labels([face, at_the_top], [SIZE, SIZE], WIDTH, HEIGHT)
    assert above == (200, 180)
    assert below == (400, 80)


def test_a_label_at_the_right_edge_is_not_cut_off() -> None:
    assert place_labels([Box(600, 200, 40, 40)], [SIZE], WIDTH, HEIGHT) == [(540, 180)]


def test_neighbours_do_not_hide_each_others_labels() -> None:
    people = [Box(100 + 60 * n, 200, 50, 60) for n in range(4)]
    corners = place_labels(people, [SIZE] * 4, WIDTH, HEIGHT)
    assert not any(overlap(one, other) for one, other in itertools.combinations(corners, 2))


def test_a_label_does_not_hide_the_face_above() -> None:
    upper, lower = Box(200, 100, 80, 80), Box(200, 185, 80, 80)
    _, (_, top) = place_labels([upper, lower], [SIZE, SIZE], WIDTH, HEIGHT)
    assert top == 265, "below its own"


def test_a_copy_is_drawn_on_and_the_picture_is_left_alone() -> None:
    picture = np.full((HEIGHT, WIDTH, 3), 128, np.uint8)
    copy = annotate(picture, [Mark(Box(200, 200, 80, 80), "happy 93%", judged=True)])
    assert (picture == 128).all()
    assert copy.shape == picture.shape
    changed = np.argwhere((copy != picture).any(axis=2))
    assert changed.min(axis=0)[0] < 200 <= changed.max(axis=0)[0] <= 285
    assert (copy[240, 240] == 128).all(), "the face itself is not painted over"


@given(st.integers(1, 40), st.integers(1, 40), boxes)
def test_a_tiny_picture_is_no_error(height: int, width: int, box: Box) -> None:
    picture = np.zeros((height, width, 3), np.uint8)
    assert annotate(picture, [Mark(box, "unknown 31%", judged=False)]).shape == picture.shape
