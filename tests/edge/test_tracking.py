"""The tracker, frame by frame, with numbers only."""

import random
from collections.abc import Sequence

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.detectors.yunet import YunetDetector
from edge.records import Box, Face, Track
from edge.settings import TrackingSettings
from edge.tracking import Tracker, distance, iou
from tests import devdata

FRAME_S = 1 / 15
SETTINGS = TrackingSettings(max_age_s=0.8, min_hits=3, gate=0.6)


def face(x: float, y: float = 100.0, side: float = 50.0) -> Face:
    return Face(Box(x - side / 2, y - side / 2, side, side), 0.9)


def play(frames: Sequence[list[Face]], tracker: Tracker | None = None, start: int = 0) -> list[list[Track]]:
    tracker = tracker or Tracker(SETTINGS)
    return [tracker.update(faces, (start + n) * FRAME_S) for n, faces in enumerate(frames)]


def ids(tracks: list[Track]) -> list[int]:
    return [track.track_id for track in tracks]


def test_a_face_is_believed_at_its_third_detection() -> None:
    history = play([[face(100)]] * 4)
    assert [ids(tracks) for tracks in history] == [[], [], [1], [1]]
    assert history[3][0].hits == 4
    assert history[3][0].first_seen_s == 0.0
    assert history[3][0].last_seen_s == 3 * FRAME_S


def test_a_flickering_false_face_is_never_believed() -> None:
    history = play([[face(100)], [face(100)], [], [face(100)], [face(100)], []] * 20)
    assert not any(history)


def test_a_confirmed_face_survives_missed_detections_and_keeps_its_number() -> None:
    gap = int(0.8 / FRAME_S) - 1
    history = play([[face(100)]] * 5 + [[]] * gap + [[face(102)]])
    assert ids(history[-1]) == [1]
    assert history[-2][0].last_seen_s == 4 * FRAME_S


def test_a_face_unseen_for_longer_than_max_age_has_left_and_its_number_is_not_used_again() -> None:
    tracker = Tracker(SETTINGS)
    play([[face(100)]] * 5, tracker)
    assert ids(tracker.update([], 4 * FRAME_S + 0.79)) == [1]
    assert ids(tracker.update([face(100)], 4 * FRAME_S + 0.81)) == []
    assert ids(play([[face(100)]] * 3, tracker, start=20)[-1]) == [2]


def test_a_moving_face_is_found_again_where_it_was_heading() -> None:
    # 12 pixels a frame; after six missed frames it is 84 pixels on: outside the gate of 30, but as predicted.
    moving = [[face(100 + 12 * n)] for n in range(20)]
    moving[10:16] = [[]] * 6
    assert ids(play(moving)[-1]) == [1]


def test_a_jump_beyond_the_gate_is_another_face() -> None:
    history = play([[face(100)]] * 5 + [[face(300)]] * 5)
    assert ids(history[-1]) == [1, 2]
    assert history[-1][0].last_seen_s == 4 * FRAME_S


def test_two_faces_that_cross_keep_their_numbers() -> None:
    frames = [[face(100 + 8 * n, 100), face(400 - 8 * n, 120)] for n in range(38)]
    last = {track.track_id: track.face.box.centre[0] for track in play(frames)[-1]}
    assert last == {1: pytest.approx(396), 2: pytest.approx(104)}


def test_a_confirmed_track_is_served_before_a_tentative_one() -> None:
    tracker = Tracker(SETTINGS)
    play([[face(100)]] * 3, tracker)
    tracker.update([face(100), face(112)], 3 * FRAME_S)
    assert ids(tracker.update([face(110)], 4 * FRAME_S)) == [1]
    assert tracker.update([], 5 * FRAME_S)[0].face == face(110)


def test_several_faces_with_a_quarter_of_the_detections_dropped_keep_exact_numbers() -> None:
    dice = random.Random(4)
    sway = [3 * abs(n % 40 - 20) for n in range(300)]
    frames = [[face(100 + 150 * k + x) for k in range(4) if n < 5 or dice.random() > 0.25] for n, x in enumerate(sway)]
    tracker, seen = Tracker(SETTINGS), set()
    for n, faces in enumerate(frames):
        seen |= set(ids(tracker.update(faces, n * FRAME_S)))
    assert seen == {1, 2, 3, 4}


def test_two_frames_at_one_instant_and_a_clear() -> None:
    tracker = Tracker(SETTINGS)
    for _ in range(3):
        tracks = tracker.update([face(100)], 1.0)
    assert ids(tracks) == [1]
    tracker.clear()
    assert tracker.update([], 1.0) == []
    assert ids(play([[face(100)]] * 3, tracker, start=16)[-1]) == [2]


COORDINATES = st.floats(-500, 5000, allow_nan=False)
SIDES = st.floats(0, 3000, allow_nan=False)
BOXES = st.builds(Box, COORDINATES, COORDINATES, SIDES, SIDES)
FACES = st.builds(Face, BOXES, st.floats(0, 1))


@given(st.lists(st.lists(FACES, max_size=6, unique_by=lambda face: face.box), max_size=12), st.randoms())
def test_the_order_of_detections_never_matters(frames: list[list[Face]], dice: random.Random) -> None:
    shuffled = [dice.sample(faces, len(faces)) for faces in frames]
    assert play(frames) == play(shuffled)


@given(st.lists(st.lists(FACES, max_size=6), max_size=30))
def test_numbers_are_unique_in_a_frame_and_rise_from_one(frames: list[list[Face]]) -> None:
    known: list[int] = []
    for faces, tracks in zip(frames, play(frames), strict=True):
        numbers = ids(tracks)
        assert numbers == sorted(set(numbers))
        known += [number for number in numbers if number not in known]
        newest = max((track.last_seen_s for track in tracks), default=0.0)
        assert newest < (len(frames) - 1) * FRAME_S or all(t.face in faces for t in tracks if t.last_seen_s == newest)
    assert known == list(range(1, len(known) + 1))


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(-9, 9)), max_size=25), st.randoms())
def test_faces_that_stay_apart_keep_their_numbers_whatever_the_order(
    moves: list[tuple[int, int]], dice: random.Random
) -> None:
    places = [100.0, 300.0, 500.0, 700.0]
    tracker = Tracker(SETTINGS)
    homes: dict[int, int] = {}
    for n, (who, move) in enumerate([(0, 0)] * 3 + moves):
        places[who] += move if abs(places[who] + move - 100 - 200 * who) < 60 else 0
        faces = [face(x) for x in places]
        for track in tracker.update(dice.sample(faces, 4), n * FRAME_S):
            home = round((track.face.box.centre[0] - 100) / 200)
            assert homes.setdefault(track.track_id, home) == home
    assert homes == {1: 0, 2: 1, 3: 2, 4: 3}


@given(BOXES, BOXES)
def test_overlap_and_distance_are_symmetric_and_bounded(a: Box, b: Box) -> None:
    assert 0.0 <= iou(a, b) <= 1.0 + 1e-9
    assert iou(a, b) == pytest.approx(iou(b, a))
    assert distance(a, b) == pytest.approx(distance(b, a)) and distance(a, a) == 0.0


def test_overlap_of_known_boxes() -> None:
    assert iou(Box(0, 0, 10, 10), Box(5, 0, 10, 10)) == pytest.approx(50 / 150)
    assert iou(Box(0, 0, 10, 10), Box(20, 0, 10, 10)) == 0.0
    assert distance(Box(0, 0, 10, 10), Box(5, 0, 10, 10)) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("clip", "people"),
    [
        ("single_face.mp4", 1),
        ("face-demographics-walking-and-pause.gif", 3),
        ("head-pose-face-detection-female.gif", 1),
    ],
)
def test_real_clips_have_exact_numbers_of_people_with_a_quarter_of_the_detections_lost(clip: str, people: int) -> None:
    detector = YunetDetector(devdata.yunet())
    capture = cv2.VideoCapture(str(devdata.media(clip)))
    period_s = 1 / capture.get(cv2.CAP_PROP_FPS)
    detected: list[list[Face]] = []
    while True:
        good, image = capture.read()
        if not good:
            break
        detected.append(detector.detect(np.asarray(image, np.uint8)))
    for seed in range(5):
        dice, tracker, seen = random.Random(seed), Tracker(SETTINGS), set[int]()
        for n, faces in enumerate(detected):
            kept = [face for face in faces if dice.random() > 0.25]
            seen |= set(ids(tracker.update(kept, n * period_s)))
        assert seen == set(range(1, people + 1)), seed
