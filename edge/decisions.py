"""From a face's scores in each frame to the emotion that is announced. Pure: frozen state in, frozen state out.

Four steps, one function each: smooth the probabilities, choose the label they favour (threshold, hysteresis), settle
on it only once it has led for a while (dwell), announce it unless there were too many changes lately (limit).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge.records import UNKNOWN, Scores
from edge.settings import JudgementSettings
from edge.smoothing import Smoothed, smooth


@dataclass(frozen=True, slots=True)
class Settled:
    """The emotion believed, and the one that may follow it."""

    emotion: str
    rival: str
    """What the evidence favours now; equal to ``emotion`` while nothing contests it."""
    rival_since_s: float


@dataclass(frozen=True, slots=True)
class Announced:
    """What subscribers have been told."""

    emotion: str
    changes_s: tuple[float, ...] = ()
    """When, within the last minute, changes were announced."""
    withheld: str | None = None
    """The change that waits for the limit."""
    dropped: int = 0
    """Changes withheld so far."""


def choose(current: str, scores: Scores, threshold: float, hysteresis: float) -> str:
    """The label that smoothed scores favour; ``unknown`` where none reaches ``threshold``.

    A Schmitt trigger: a label is taken up ``hysteresis`` above the threshold (at most half way to certainty), and kept
    until it sinks below the threshold or another label beats it by ``hysteresis``.
    """
    best, highest = scores.top
    taken_at = min(threshold + hysteresis, (threshold + 1) / 2)
    if current in scores.labels:
        held = float(scores.probabilities[scores.labels.index(current)])
        if held >= threshold and highest < held + hysteresis:
            return current
    return best if highest >= taken_at else UNKNOWN


def settle(before: Settled | None, favoured: str, now_s: float, dwell_s: float) -> Settled:
    """Take up ``favoured`` once it has been favoured without a break for ``dwell_s``; the first one at once."""
    if before is None or favoured == before.emotion:
        return Settled(favoured, favoured, now_s)
    since_s = before.rival_since_s if favoured == before.rival else now_s
    if now_s - since_s >= dwell_s:
        return Settled(favoured, favoured, now_s)
    return Settled(before.emotion, favoured, since_s)


def announce(before: Announced | None, emotion: str, now_s: float, max_per_minute: int) -> Announced:
    """Follow ``emotion``, at most ``max_per_minute`` times in any 60 s.

    A change beyond that is dropped and counted once. What is announced still catches up when the minute allows it,
    so that a subscriber is never left with a wrong label for good, and every event's ``previous`` is the one before.
    """
    if before is None:
        return Announced(emotion)
    recent = tuple(at_s for at_s in before.changes_s if now_s - at_s < 60.0)
    if emotion == before.emotion:
        return Announced(emotion, recent, None, before.dropped)
    if len(recent) < max_per_minute:
        return Announced(emotion, (*recent, now_s), None, before.dropped)
    return Announced(before.emotion, recent, emotion, before.dropped + (emotion != before.withheld))


@dataclass(frozen=True, slots=True)
class Judgement:
    """All that is known of one face's emotion."""

    labels: tuple[str, ...]
    evidence: Smoothed[NDArray[np.float32]] | None
    """Smoothed probabilities in label order; None where the face was never judged."""
    settled: Settled
    announced: Announced

    @property
    def emotion(self) -> str:
        """What subscribers are told."""
        return self.announced.emotion

    @property
    def probabilities(self) -> dict[str, float]:
        if self.evidence is None:
            return {}
        return dict(zip(self.labels, map(float, self.evidence.value), strict=True))

    @property
    def confidence(self) -> float:
        """The probability of ``emotion``; of the best label where that is unknown; 0 where never judged."""
        probabilities = self.probabilities
        return probabilities.get(self.emotion, max(probabilities.values(), default=0.0))


def judge(before: Judgement | None, scores: Scores | None, now_s: float, settings: JudgementSettings) -> Judgement:
    """One frame further. scores: None where the face can't be judged in this frame, which favours ``unknown``."""
    evidence = before.evidence if before else None
    labels = before.labels if before else ()
    current = before.settled.emotion if before else UNKNOWN
    favoured = UNKNOWN
    if scores is not None:
        evidence, labels = smooth(evidence, scores.probabilities, now_s, settings.smoothing_s), scores.labels
        favoured = choose(current, Scores(labels, evidence.value), settings.confidence_threshold, settings.hysteresis)
    settled = settle(before.settled if before else None, favoured, now_s, settings.dwell_s)
    told = announce(before.announced if before else None, settled.emotion, now_s, settings.max_changes_per_minute)
    return Judgement(labels, evidence, settled, told)
