"""Pipeline.step, from scripted frames to events; then the real detectors on real clips."""

import ast
import inspect
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge import decisions, pipeline, preprocess, quality, smoothing, tracking
from edge.bundle import FER_CROPS, CropGeometry
from edge.detectors.haar import HaarDetector
from edge.detectors.yunet import YunetDetector
from edge.errors import RuntimeUnavailableError
from edge.fakes import START, ScriptedClassifier, ScriptedDetector, ScriptedSource
from edge.interfaces import FaceDetector
from edge.pipeline import NOBODY, Pipeline, share_of_frame
from edge.records import UNKNOWN, Box, EmotionEvent, EventType, Face, Frame, Landmarks
from edge.settings import JudgementSettings, TrackingSettings
from tests import devdata

LABELS = ("happy", "sad", "neutral")
FPS = 10.0
PICTURE = np.random.default_rng(0).integers(0, 255, (240, 320, 3), dtype=np.uint8)
JUDGEMENT = JudgementSettings(smoothing_s=0.0, dwell_s=0.5, confidence_threshold=0.45, max_changes_per_minute=20)


def face(x: float, side: float = 60.0) -> Face:
    return Face(Box(x, 80, side, side), 0.9)


def make(
    script: Sequence[Sequence[Face]],
    answers: Sequence[str | dict[str, float] | Exception],
    judgement: JudgementSettings = JUDGEMENT,
) -> Pipeline:
    return Pipeline(
        ScriptedDetector(script),
        ScriptedClassifier(LABELS, answers),
        CropGeometry(1.0, "height"),
        (48, 48),
        TrackingSettings(max_age_s=0.8, min_hits=3, gate=0.6),
        judgement,
    )


def play(
    script: Sequence[Sequence[Face]],
    answers: Sequence[str | dict[str, float] | Exception],
    judgement: JudgementSettings = JUDGEMENT,
) -> tuple[list[EmotionEvent], Pipeline]:
    """All events of a script, finished one frame after its end."""
    made = make(script, answers, judgement)
    events = [event for frame in film(len(script)) for event in made.step(frame)]
    events += made.finish(len(script) / FPS, START + timedelta(seconds=len(script) / FPS))
    return events, made


def film(length: int) -> list[Frame]:
    source = ScriptedSource([PICTURE], FPS, repeat=length)
    return [frame for _ in range(length) if (frame := source.read()) is not None]


def brief(events: Sequence[EmotionEvent]) -> list[tuple[str, int, str, str | None, float]]:
    """type, track, emotion, previous, seconds since the start."""
    return [
        (e.event_type.value, e.track_id, e.emotion, e.previous, round((e.time - START).total_seconds(), 3))
        for e in events
    ]


def test_a_story_from_start_to_end() -> None:
    script = [[face(50 + n)] for n in range(40)] + [[]] * 12
    events, made = play(script, ["sad"] * 18 + ["happy"])
    assert brief(events) == [
        ("start", 1, "sad", None, 0.2),
        # The twentieth frame seen after the start is the first happy one; it must lead for half a second.
        ("change", 1, "happy", "sad", 2.5),
        ("end", 1, "happy", "happy", 4.7),
    ]
    assert [event.seq for event in events] == [0, 1, 2]
    assert [round(event.duration_s, 3) for event in events] == [0.2, 2.5, 3.9]
    start = events[0]
    assert start.box == pytest.approx((52 / 320, 80 / 240, 60 / 320, 60 / 240))
    assert start.confidence == pytest.approx(0.9)
    assert sum(start.probabilities.values()) == pytest.approx(1.0)
    assert tuple(start.probabilities) == LABELS
    assert start.backend == "scripted"
    assert made.state == NOBODY


def test_finish_ends_everyone_and_the_next_step_begins_anew() -> None:
    made = make([[face(50), face(200)]] * 20, ["sad"])
    for frame in film(10):
        made.step(frame)
    ends = made.finish(1.0, START + timedelta(seconds=1))
    assert brief(ends) == [("end", 1, "sad", "sad", 1.0), ("end", 2, "sad", "sad", 1.0)]
    assert [end.duration_s for end in ends] == [1.0, 1.0]
    assert made.finish(1.0, START) == []
    later = [event for frame in film(20)[10:] for event in made.step(frame)]
    assert [(event.track_id, event.seq) for event in later] == [(3, 4), (4, 5)]


def test_a_face_lost_long_before_the_finish_is_not_counted_as_there() -> None:
    made = make([[face(50)]] * 10, ["sad"])
    for frame in film(10):
        made.step(frame)
    (end,) = made.finish(60.0, START + timedelta(seconds=60))
    assert end.duration_s == pytest.approx(0.9)


def test_ends_come_before_starts_and_the_numbers_have_no_gap() -> None:
    script = [[face(20)]] * 5 + [[]] * 6 + [[face(220)]] * 10
    events, _ = play(script, ["sad"])
    assert brief(events)[:3] == [
        ("start", 1, "sad", None, 0.2),
        ("end", 1, "sad", "sad", 1.3),
        ("start", 2, "sad", None, 1.3),
    ]
    assert [event.seq for event in events] == [0, 1, 2, 3]


def test_a_classifier_that_raises_loses_and_repeats_no_event() -> None:
    script = [[face(20)]] * 5 + [[]] * 6 + [[face(220)]] * 5
    made = make(script, ["sad"] * 3 + [RuntimeUnavailableError("gone"), "sad"])
    events = []
    for frame in film(len(script)):
        try:
            events += made.step(frame)
        except RuntimeUnavailableError:
            assert frame.sequence == 13  # track 1 leaves and track 2 is first judged in this very frame
    assert [(event.event_type.value, event.track_id, event.seq) for event in events] == [
        ("start", 1, 0),
        ("end", 1, 1),
        ("start", 2, 2),
    ]


def test_faces_that_can_not_be_judged_are_tracked_as_unknown_and_not_classified() -> None:
    turned = Landmarks((60, 100), (80, 100), (95, 110), (62, 125), (78, 125))
    script = [[face(20, 20), replace(face(150), landmarks=turned)]] * 10
    events, _ = play(script, [AssertionError("must not be asked")])
    assert [(event.event_type, event.emotion) for event in events] == [
        (EventType.START, UNKNOWN),
        (EventType.START, UNKNOWN),
        (EventType.END, UNKNOWN),
        (EventType.END, UNKNOWN),
    ]
    assert all(event.confidence == 0.0 and event.probabilities == {} for event in events)


def test_the_threshold_can_be_set_while_running() -> None:
    made = make([[face(50)]] * 30, [{"happy": 0.6, "sad": 0.3, "neutral": 0.1}])
    events = [event for frame in film(10) for event in made.step(frame)]
    made.confidence_threshold = 0.7
    assert made.judgement == replace(JUDGEMENT, confidence_threshold=0.7)
    assert made.confidence_threshold == 0.7
    events += [event for frame in film(30)[10:] for event in made.step(frame)]
    assert [(event.emotion, round(event.confidence, 2)) for event in events] == [("happy", 0.6), (UNKNOWN, 0.6)]


def test_changes_beyond_the_limit_are_dropped_and_counted_but_never_starts_and_ends() -> None:
    answers = [label for _ in range(20) for label in ["happy"] * 10 + ["sad"] * 10]
    events, made = play([[face(50)]] * 400, answers, replace(JUDGEMENT, max_changes_per_minute=3))
    types = [event.event_type.value for event in events]
    assert types == ["start", "change", "change", "change", "end"]
    # 39 alternations in 40 s: 3 announced; each second one returns to what was announced and needs no event.
    assert made.changes_dropped == 18
    assert [event.seq for event in events] == list(range(5))


def test_state_follows_the_foremost_face_and_does_not_alternate() -> None:
    sizes = [(60, 50)] * 5 + [(60, 64), (60, 56)] * 5 + [(60, 90)] * 5
    made = make([[face(30, a), face(180, b)] for a, b in sizes], ["sad"])
    foremost = []
    for frame in film(len(sizes)):
        made.step(frame)
        foremost.append(made.state.track_id)
    assert foremost == [None] * 2 + [1] * 13 + [2] * 5
    assert made.state.faces == 2
    assert made.state.emotion == "sad"
    assert made.state.confidence == pytest.approx(0.9)


def test_state_is_not_renewed_by_a_trembling_confidence() -> None:
    answers = [{"sad": 0.80 + 0.02 * (n % 2), "happy": 0.1, "neutral": 0.1 - 0.02 * (n % 2)} for n in range(30)]
    made = make([[face(50)]] * 33, [*answers, {"sad": 0.95, "happy": 0.05}])
    states = []
    for frame in film(33):
        made.step(frame)
        states.append(made.state)
    assert len(dict.fromkeys(states)) == 3  # nobody, .80, .95


def test_roll_is_smoothed_and_corrected_in_the_crop() -> None:
    def tilted(degrees: float) -> Face:
        dx, dy = 20 * np.cos(np.radians(degrees)), 20 * np.sin(np.radians(degrees))
        points = Landmarks((80 - dx, 100 - dy), (80 + dx, 100 + dy), (80, 110), (72, 125), (88, 125))
        return Face(Box(50, 80, 60, 60), 0.9, points)

    asked: list[np.ndarray] = []
    for degrees in (0.0, 10.0, 30.0):
        classifier = ScriptedClassifier(LABELS, ["sad"])
        made = Pipeline(
            ScriptedDetector([[tilted(degrees)]] * 5),
            classifier,
            CropGeometry(1.0, "height"),
            (48, 48),
            TrackingSettings(),
            JUDGEMENT,
        )
        for frame in film(5):
            made.step(frame)
        asked.append(classifier.crops[-1])
    assert np.array_equal(asked[0], asked[1])
    assert not np.array_equal(asked[0], asked[2])


STORIES = st.lists(
    st.tuples(
        st.lists(st.sampled_from([20.0, 120.0, 220.0]), max_size=3, unique=True),
        st.sampled_from([*LABELS, None]),
        st.floats(0, 0.6),
    ),
    max_size=60,
)


@settings(max_examples=50, deadline=None)
@given(STORIES, st.integers(0, 4))
def test_every_story_is_well_formed(story: list[tuple[list[float], str | None, float]], limit: int) -> None:
    """Whatever happens: seq without a gap, ids rising, and for each face start, linked changes, end."""
    answers = iter([answer for _, answer, _ in story for _ in range(3)])
    made = Pipeline(
        ScriptedDetector([[face(x) for x in places] for places, _, _ in story]),
        ScriptedClassifier(LABELS, lambda crop: next(answers) or {"happy": 0.34, "sad": 0.33, "neutral": 0.33}),
        CropGeometry(1.0, "height"),
        (48, 48),
        TrackingSettings(),
        replace(JUDGEMENT, max_changes_per_minute=limit, dwell_s=0.1),
    )
    events, now_s = [], 0.0
    for n, (_, _, gap_s) in enumerate(story):
        now_s += gap_s
        events += made.step(Frame(PICTURE, now_s, START + timedelta(seconds=now_s), n))
    events += made.finish(now_s, START + timedelta(seconds=now_s))
    assert [event.seq for event in events] == list(range(len(events)))
    assert [event.id for event in events] == sorted({event.id for event in events})
    for track_id in {event.track_id for event in events}:
        mine = [event for event in events if event.track_id == track_id]
        assert [event.event_type for event in mine] == [
            EventType.START,
            *[EventType.CHANGE] * (len(mine) - 2),
            EventType.END,
        ]
        assert mine[0].previous is None
        assert all(later.previous == earlier.emotion for earlier, later in pairwise(mine))
        assert all(event.emotion != event.previous for event in mine[1:-1])
        assert all(a.duration_s <= b.duration_s for a, b in pairwise(mine))


COORDINATES = st.floats(-5000, 5000, allow_nan=False)
SIDES = st.floats(0, 5000, allow_nan=False)


@given(st.builds(Box, COORDINATES, COORDINATES, SIDES, SIDES), st.integers(1, 4000), st.integers(1, 4000))
def test_an_events_box_is_clipped_to_the_frame(box: Box, height: int, width: int) -> None:
    left, top, across, down = share_of_frame(box, height, width)
    assert 0 <= left <= 1 and 0 <= top <= 1 and across >= 0 and down >= 0
    assert left + across <= 1 + 1e-12 and top + down <= 1 + 1e-12


def test_the_pure_part_has_no_clock_no_thread_and_no_files() -> None:
    impure = {"time", "threading", "os", "socket", "logging", "pathlib", "subprocess", "io", "asyncio"}
    for module in (pipeline, tracking, smoothing, decisions, quality, preprocess):
        for node in ast.walk(ast.parse(inspect.getsource(module))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not {name.split(".")[0] for name in names} & impure, module.__name__
    assert len(inspect.getsource(Pipeline.step).splitlines()) <= 30


def play_clip(name: str, detector: FaceDetector) -> list[EmotionEvent]:
    capture = cv2.VideoCapture(str(devdata.media(name)))
    fps = capture.get(cv2.CAP_PROP_FPS)
    classifier = ScriptedClassifier(LABELS, ["neutral"])
    made = Pipeline(detector, classifier, FER_CROPS[detector.name], (48, 48), TrackingSettings(), JudgementSettings())
    events: list[EmotionEvent] = []
    count = 0
    while True:
        good, image = capture.read()
        seconds = count / fps
        moment = datetime(2025, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
        if not good:
            return events + made.finish(seconds, moment)
        events += made.step(Frame(np.asarray(image, np.uint8), seconds, moment, count))
        count += 1


@pytest.mark.parametrize("kind", ["yunet", "haar"])
def test_real_clips(kind: str) -> None:
    def detector() -> FaceDetector:
        return YunetDetector(devdata.yunet()) if kind == "yunet" else HaarDetector()

    assert play_clip("no_face.mp4", detector()) == []
    single = brief(play_clip("single_face.mp4", detector()))
    assert [event[:4] for event in single] == [("start", 1, "neutral", None), ("end", 1, "neutral", "neutral")]
    appears = brief(play_clip("noface_face.mov", detector()))
    assert [event[:2] for event in appears] == [("start", 1), ("end", 1)]
    assert 96 / 26.5 <= appears[0][4] <= 96 / 26.5 + 1.0  # the face appears in frame 96


def test_the_same_frames_give_the_same_events() -> None:
    def transcript() -> list[EmotionEvent]:
        detector = YunetDetector(devdata.yunet())
        return [replace(event, id="") for event in play_clip("face-demographics-walking-and-pause.gif", detector)]

    first = transcript()
    assert first == transcript()
    assert [event.event_type.value for event in first] == ["start"] * 3 + ["end"] * 3
