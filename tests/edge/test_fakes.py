"""The shipped fakes keep the Protocols' promises."""

import numpy as np
import pytest

from edge.errors import SourceError
from edge.fakes import START, MemorySink, ScriptedClassifier, ScriptedDetector, ScriptedSource
from edge.interfaces import EmotionClassifier, EventSink, FaceDetector, FrameSource
from edge.pipeline import NOBODY
from edge.records import Box, Command, Face

PICTURE = np.zeros((4, 6, 3), np.uint8)


def test_they_are_what_the_protocols_ask_for() -> None:
    source: FrameSource = ScriptedSource([])
    detector: FaceDetector = ScriptedDetector([])
    classifier: EmotionClassifier = ScriptedClassifier(("a",), ["a"])
    sink: EventSink = MemorySink()
    for part in (source, detector, classifier, sink):
        part.close()
        part.close()


def test_a_source_stamps_frames_repeats_and_ends() -> None:
    source = ScriptedSource([PICTURE, PICTURE + 1], fps=4.0, repeat=2)
    frames = [source.read() for _ in range(5)]
    assert frames[4] is None
    taken = [frame for frame in frames if frame is not None]
    assert [frame.monotonic_s for frame in taken] == [0.0, 0.25, 0.5, 0.75]
    assert [frame.sequence for frame in taken] == [0, 1, 2, 3]
    assert [int(frame.image[0, 0, 0]) for frame in taken] == [0, 1, 0, 1]
    assert (taken[2].captured_at - START).total_seconds() == 0.5


def test_a_source_can_stall_and_be_lost() -> None:
    source = ScriptedSource([PICTURE, TimeoutError("stalled"), PICTURE, SourceError("unplugged")], live=True)
    assert source.live
    first = source.read()
    with pytest.raises(TimeoutError, match="stalled"):
        source.read()
    second = source.read()
    with pytest.raises(SourceError, match="unplugged"):
        source.read()
    assert first is not None and second is not None
    assert (first.sequence, second.sequence) == (0, 1)
    assert second.monotonic_s > first.monotonic_s
    source.close()
    assert source.read() is None


def test_a_detector_plays_its_script_then_sees_nothing() -> None:
    face = Face(Box(0, 0, 2, 2), 0.5)
    detector = ScriptedDetector([[face], [], [face, face]])
    assert [detector.detect(PICTURE) for _ in range(4)] == [[face], [], [face, face], []]


def test_a_classifier_answers_in_turn_and_repeats_its_last_answer() -> None:
    classifier = ScriptedClassifier(("happy", "sad", "neutral"), ["sad", {"happy": 0.75, "sad": 0.25}])
    crop = np.full((2, 2), 7, np.uint8)
    first, second, third = classifier.classify([crop, crop, crop])
    assert first.top[0] == "sad"
    assert first.top[1] == pytest.approx(0.9)
    assert second.probabilities.tolist() == third.probabilities.tolist() == [0.75, 0.25, 0.0]
    assert first.probabilities.dtype == np.float32
    assert first.probabilities.sum() == pytest.approx(1.0)
    assert len(classifier.crops) == 3


def test_a_classifier_can_raise_or_be_a_function() -> None:
    failing = ScriptedClassifier(("a", "b"), [OSError("gone"), "b"])
    with pytest.raises(OSError, match="gone"):
        failing.classify([PICTURE[:, :, 0]])
    assert failing.classify([PICTURE[:, :, 0]])[0].top[0] == "b"
    judging = ScriptedClassifier(("dark", "light"), lambda crop: "light" if crop.mean() > 127 else "dark")
    dark, light = judging.classify([np.zeros((2, 2), np.uint8), np.full((2, 2), 200, np.uint8)])
    assert (dark.top[0], light.top[0]) == ("dark", "light")


def test_a_sink_keeps_what_it_is_given_and_hands_commands_out_once() -> None:
    sink = MemorySink()
    sink.state(NOBODY)
    sink.waiting.append(Command("threshold", 0.5))
    assert list(sink.commands()) == [Command("threshold", 0.5)]
    assert list(sink.commands()) == []
    assert sink.states == [NOBODY]
