"""From scores to announcements, with numbers only."""

from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.decisions import Announced, Judgement, Settled, announce, choose, judge, settle
from edge.records import UNKNOWN, Scores
from edge.settings import JudgementSettings

LABELS = ("happy", "sad", "neutral")
STEADY = JudgementSettings(
    confidence_threshold=0.45, smoothing_s=0.0, hysteresis=0.1, dwell_s=0.7, max_changes_per_minute=20
)


def scores(happy: float, sad: float) -> Scores:
    return Scores(LABELS, np.array([happy, sad, 1 - happy - sad], np.float32))


SURE = {"happy": scores(0.9, 0.05), "sad": scores(0.05, 0.9), "neutral": scores(0.05, 0.05)}


def play(script: Iterable[Scores | None], settings: JudgementSettings = STEADY, fps: float = 10.0) -> list[Judgement]:
    history: list[Judgement] = []
    for n, item in enumerate(script):
        history.append(judge(history[-1] if history else None, item, n / fps, settings))
    return history


def emotions(history: list[Judgement]) -> list[str]:
    """The announced emotions, repeats left out."""
    told = [judgement.emotion for judgement in history]
    return [emotion for n, emotion in enumerate(told) if n == 0 or emotion != told[n - 1]]


def test_choose_by_threshold_and_hysteresis() -> None:
    # After unknown a label must exceed the threshold by the hysteresis ...
    assert choose(UNKNOWN, scores(0.54, 0.30), 0.45, 0.1) == UNKNOWN
    assert choose(UNKNOWN, scores(0.56, 0.30), 0.45, 0.1) == "happy"
    # ... and is then kept down to the threshold,
    assert choose("sad", scores(0.50, 0.46), 0.45, 0.1) == "sad"
    assert choose("sad", scores(0.30, 0.44), 0.45, 0.1) == UNKNOWN
    # unless another label beats it by the hysteresis.
    assert choose("sad", scores(0.49, 0.40), 0.35, 0.1) == "sad"
    assert choose("sad", scores(0.51, 0.40), 0.35, 0.1) == "happy"
    # Whatever the threshold, a sure label can be taken up.
    assert choose(UNKNOWN, scores(0.98, 0.01), 0.95, 0.1) == "happy"


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1), st.floats(0, 0.5), st.sampled_from([*LABELS, UNKNOWN]))
def test_a_chosen_label_always_reaches_the_threshold(
    a: float, b: float, threshold: float, hysteresis: float, current: str
) -> None:
    item = scores(a * (1 - b), b * (1 - a))
    chosen = choose(current, item, threshold, hysteresis)
    if chosen != UNKNOWN:
        assert item.probabilities[LABELS.index(chosen)] >= threshold


def test_settle_waits_for_an_unbroken_lead() -> None:
    state = settle(None, "sad", 0.0, 0.7)
    assert state == Settled("sad", "sad", 0.0)
    state = settle(state, "happy", 1.0, 0.7)
    assert (state.emotion, state.rival, state.rival_since_s) == ("sad", "happy", 1.0)
    assert settle(state, "happy", 1.69, 0.7).emotion == "sad"
    assert settle(state, "happy", 1.70, 0.7).emotion == "happy"
    # Broken by the holder, or by a third label, the lead starts anew.
    assert settle(settle(state, "sad", 1.5, 0.7), "happy", 1.8, 0.7).rival_since_s == 1.8
    assert settle(state, "neutral", 1.5, 0.7).rival_since_s == 1.5


def test_no_dwell_changes_at_once() -> None:
    assert settle(Settled("sad", "sad", 0.0), "happy", 0.0, 0.0).emotion == "happy"


def test_announce_limits_changes_counts_once_and_catches_up() -> None:
    told = announce(None, "sad", 0.0, 2)
    assert told == Announced("sad")
    told = announce(told, "happy", 10.0, 2)
    told = announce(told, "sad", 20.0, 2)
    assert (told.emotion, told.changes_s, told.dropped) == ("sad", (10.0, 20.0), 0)
    for at_s in (30.0, 31.0, 32.0):
        told = announce(told, "happy", at_s, 2)
        assert (told.emotion, told.dropped) == ("sad", 1)
    told = announce(told, "neutral", 40.0, 2)
    assert (told.emotion, told.dropped) == ("sad", 2)
    told = announce(told, "neutral", 70.0, 2)
    assert (told.emotion, told.changes_s, told.dropped) == ("neutral", (20.0, 70.0), 2)


@given(st.lists(st.tuples(st.sampled_from(LABELS), st.floats(0, 20)), max_size=80), st.integers(0, 5))
def test_never_more_than_the_limit_in_any_minute(steps: list[tuple[str, float]], limit: int) -> None:
    told, now_s, changes = announce(None, "sad", 0.0, limit), 0.0, []
    for emotion, gap_s in steps:
        now_s += gap_s
        before, told = told, announce(told, emotion, now_s, limit)
        if told.emotion != before.emotion:
            changes.append(now_s)
            assert told.emotion == emotion
        assert told.dropped >= before.dropped
    for at_s in changes:
        assert sum(at_s <= other < at_s + 60 for other in changes) <= limit


def test_a_short_flicker_is_never_announced() -> None:
    flicker = [SURE["sad"], SURE["sad"], SURE["happy"], SURE["neutral"]] * 20
    assert emotions(play([SURE["sad"], *flicker])) == ["sad"]


def test_a_lasting_change_is_announced_after_the_dwell() -> None:
    history = play([SURE["sad"]] * 10 + [SURE["happy"]] * 10)
    assert emotions(history) == ["sad", "happy"]
    assert [judgement.emotion for judgement in history].index("happy") == 17
    assert history[-1].confidence == pytest.approx(0.9)
    assert history[-1].probabilities == pytest.approx({"happy": 0.9, "sad": 0.05, "neutral": 0.05})


def test_a_face_that_can_not_be_judged_becomes_unknown_and_comes_back() -> None:
    history = play([SURE["sad"]] * 5 + [None] * 10 + [SURE["sad"]] * 10)
    assert emotions(history) == ["sad", UNKNOWN, "sad"]
    # A blink of bad pictures changes nothing.
    assert emotions(play([SURE["sad"]] * 5 + [None] * 5 + [SURE["sad"]] * 5)) == ["sad"]


def test_a_face_never_judged_is_unknown_without_probabilities() -> None:
    judgement = play([None, None])[-1]
    assert (judgement.emotion, judgement.confidence, judgement.probabilities) == (UNKNOWN, 0.0, {})


def test_unknown_for_lack_of_confidence_tells_the_best_probability() -> None:
    judgement = play([scores(0.40, 0.35)])[-1]
    assert judgement.emotion == UNKNOWN
    assert judgement.confidence == pytest.approx(0.40)


def test_smoothing_delays_by_about_its_time_constant() -> None:
    smooth = replace(STEADY, smoothing_s=0.6, dwell_s=0.0, hysteresis=0.0)
    told = [judgement.emotion for judgement in play([SURE["sad"]] * 30 + [SURE["happy"]] * 30)]
    slow = [judgement.emotion for judgement in play([SURE["sad"]] * 30 + [SURE["happy"]] * 30, smooth)]
    # Half way between two equally sure labels is reached after ln 2 time constants, 0.42 s; never before the plain one.
    assert told.index("happy") == 37
    assert 30 + 4 <= slow.index("happy") <= 30 + 6


@given(st.lists(st.sampled_from(["happy", "sad", "neutral", None]), max_size=60), st.floats(0, 2), st.floats(0, 2))
def test_changes_are_never_closer_than_the_dwell(script: list[str | None], dwell_s: float, tau: float) -> None:
    settings = replace(STEADY, dwell_s=dwell_s, smoothing_s=tau)
    history = play([SURE[name] if name else None for name in script], settings)
    changes = [n / 10 for n in range(1, len(history)) if history[n].emotion != history[n - 1].emotion]
    gaps = [b - a for a, b in pairwise(changes)]
    assert all(gap >= dwell_s - 1e-9 for gap in gaps)
