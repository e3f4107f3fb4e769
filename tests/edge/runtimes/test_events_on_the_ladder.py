"""Events while the accelerator dies in mid-clip: none lost, none repeated, none changed but for what served them."""

import dataclasses
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta

import cv2
import numpy as np
import pytest

from edge.bundle import Bundle
from edge.classifiers.emotion import BundleClassifier
from edge.fakes import START, ScriptedDetector, ScriptedSource
from edge.interfaces import TensorModel
from edge.pipeline import Pipeline
from edge.records import Box, EmotionEvent, EventType, Face
from edge.runtimes.backends import open_model
from edge.runtimes.ladder import Rung
from edge.runtimes.tflite import TfliteModel
from edge.settings import ClassifierSettings, JudgementSettings, TrackingSettings
from tests.edge.runtimes.conftest import PATIENCE_S, Child, wait_for

FRAMES, FPS = 120, 10.0
FACES = [Face(Box(left, 60, 100, 100), 0.9) for left in (30.0, 180.0)]
EAGER = JudgementSettings(
    min_face_px=8,
    min_sharpness=0.0,
    min_brightness=0.0,
    confidence_threshold=0.05,
    smoothing_s=0.05,
    hysteresis=0.0,
    dwell_s=0.0,
    max_changes_per_minute=10_000,
)
"""Every frame is judged, and every whim of the untrained network becomes an event."""


def play(model: TensorModel, bundle: Bundle, before: Callable[[int], object] = lambda _: None) -> list[EmotionEvent]:
    """Two faces that change every 0.4 s for 12 s; their events. before: called with each frame's number."""
    random = np.random.default_rng(2)
    coarse = random.integers(0, 256, (FRAMES // 4, 6, 8, 3)).astype(np.uint8)
    pictures = [np.asarray(cv2.resize(grid, (320, 240)), np.uint8) for grid in coarse for _ in range(4)]
    source = ScriptedSource(pictures, FPS)
    pipeline = Pipeline(
        detector=ScriptedDetector([FACES] * FRAMES),
        classifier=BundleClassifier(model, bundle),
        crop_geometry=bundle.crop("haar"),
        input_hw=(48, 48),
        tracking=TrackingSettings(),
        judgement=EAGER,
    )
    events = []
    while frame := source.read():
        before(frame.sequence)
        events += pipeline.step(frame)
    return events + pipeline.finish(FRAMES / FPS, START + timedelta(seconds=FRAMES / FPS))


@pytest.mark.parametrize("fault", ["segv", "hang", "lie"])
def test_the_story_is_the_cpu_s_own(tiny7: Bundle, cpu: TfliteModel, child: Child, fault: str) -> None:
    expected = play(cpu, tiny7)
    kinds = [event.event_type for event in expected]
    assert (kinds.count(EventType.START), kinds.count(EventType.END)) == (2, 2)
    assert kinds.count(EventType.CHANGE) >= 8

    # A liar is found by the golden inputs before it serves; the others fail at one face of a frame in mid-clip.
    child.behave("lie 1" if fault == "lie" else f"{fault} 60")
    settings = ClassifierSettings(
        backend="edgetpu",
        deadline_s=2.0 if fault == "hang" else PATIENCE_S,
        start_s=PATIENCE_S,
        recheck_s=3600.0,
        retry_min_s=0.05,
        retry_max_s=0.05,
    )
    with closing(open_model(tiny7, settings, command=child.command)) as ladder:
        assert isinstance(ladder, Rung)

        def before(number: int) -> None:
            if number == 0:
                wait_for(lambda: ladder.accelerated or ladder.degraded_reason, "the accelerator's first attempt")
                child.behave("good")
            if number == 90:
                wait_for(lambda: ladder.accelerated, "the accelerator's return")

        events = play(ladder, tiny7, before)
        assert len(child.pids) >= 2
    assert [dataclasses.replace(event, id="", backend="") for event in events] == [
        dataclasses.replace(event, id="", backend="") for event in expected
    ]
    assert [event.seq for event in events] == list(range(len(events)))
    assert len({event.id for event in events}) == len(events)
    assert {event.backend for event in events} == {"edgetpu", cpu.backend}
    assert events[-1].backend == "edgetpu"
