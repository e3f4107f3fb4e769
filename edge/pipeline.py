"""One frame in, its events out: detect, track, crop, classify, judge. No I/O, no clock, no threads."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from edge.bundle import CropGeometry
from edge.decisions import Judgement, judge
from edge.interfaces import EmotionClassifier, FaceDetector
from edge.preprocess import crop_face, roll_deg
from edge.quality import why_not_judged
from edge.records import Box, EmotionEvent, EventType, Frame, Scores, State, Track
from edge.settings import JudgementSettings, TrackingSettings
from edge.smoothing import Smoothed, smooth
from edge.tracking import Tracker
from edge.ulid import UlidMaker

NOBODY = State("none", 0.0, 0, None)
_FOREMOST_MARGIN = 1.25
"""How much larger another face must be to become the foremost: two people side by side must not alternate."""
_CONFIDENCE_STEP = 0.05
"""Smaller moves of the confidence alone do not renew ``state``, which is published on every change."""


def share_of_frame(box: Box, height: int, width: int) -> tuple[float, float, float, float]:
    """left, top, width, height in 0..1 of a (height, width) frame, clipped to it."""
    left, right = (min(max(x / width, 0.0), 1.0) for x in (box.left, box.left + box.width))
    top, bottom = (min(max(y / height, 0.0), 1.0) for y in (box.top, box.top + box.height))
    return left, top, right - left, bottom - top


@dataclass(frozen=True, slots=True)
class _Person:
    """One tracked face as subscribers know it."""

    track: Track
    share: tuple[float, float, float, float]
    roll: Smoothed[float] | None
    judgement: Judgement


class Pipeline:
    """Turns frames into events. Owned by one thread.

    detector's boxes are cut by crop_geometry and scaled to input_hw, the classifier's (height, width). new_id: makes
    an event's id from its time.
    """

    def __init__(
        self,
        detector: FaceDetector,
        classifier: EmotionClassifier,
        crop_geometry: CropGeometry,
        input_hw: tuple[int, int],
        tracking: TrackingSettings,
        judgement: JudgementSettings,
        new_id: Callable[[datetime], str] | None = None,
    ) -> None:
        self._detector = detector
        self._classifier = classifier
        self._geometry = crop_geometry
        self._input_hw = input_hw
        self._max_age_s = tracking.max_age_s
        self._tracker = Tracker(tracking)
        self.judgement = judgement
        """May be replaced while running; takes effect with the next frame."""
        self._new_id = new_id or UlidMaker()
        self._people: dict[int, _Person] = {}
        self._seq = 0
        self.state = NOBODY
        """The foremost face after the latest step."""
        self.changes_dropped = 0
        """``change`` events withheld by the limit since the start."""

    @property
    def confidence_threshold(self) -> float:
        """Smoothed probability below which an emotion is ``unknown``; takes effect with the next frame."""
        return self.judgement.confidence_threshold

    @confidence_threshold.setter
    def confidence_threshold(self, value: float) -> None:
        self.judgement = replace(self.judgement, confidence_threshold=value)

    def step(self, frame: Frame) -> list[EmotionEvent]:
        """Events of one frame in order: ends, then starts and changes by track number."""
        now_s, time = frame.monotonic_s, frame.captured_at
        tracks = self._tracker.update(self._detector.detect(frame.image), now_s)
        seen = [track for track in tracks if track.last_seen_s == now_s]
        rolls = {track.track_id: self._roll(track) for track in seen}
        scores = self._classify(frame.image, seen, rolls)
        # Nothing is changed before this line, so that a detector or classifier that raises loses no event.
        gone = self._people.keys() - {track.track_id for track in tracks}
        events = [self._end(track_id, now_s, time) for track_id in sorted(gone)]
        for track in seen:
            before = self._people.get(track.track_id)
            judgement = judge(before.judgement if before else None, scores.get(track.track_id), now_s, self.judgement)
            share = share_of_frame(track.face.box, *frame.image.shape[:2])
            person = _Person(track, share, rolls[track.track_id], judgement)
            self._people[track.track_id] = person
            if before is None:
                events.append(self._event(EventType.START, person, None, now_s, time))
            elif judgement.emotion != before.judgement.emotion:
                events.append(self._event(EventType.CHANGE, person, before.judgement.emotion, now_s, time))
            self.changes_dropped += judgement.announced.dropped - (before.judgement.announced.dropped if before else 0)
        self.state = self._foremost()
        return events

    def finish(self, monotonic_s: float, time: datetime) -> list[EmotionEvent]:
        """End every face, at the stop of the camera or the program; ``step`` may go on later with new numbers."""
        events = [self._end(track_id, monotonic_s, time) for track_id in sorted(self._people)]
        self._tracker.clear()
        self.state = NOBODY
        return events

    def _roll(self, track: Track) -> Smoothed[float] | None:
        before = self._people.get(track.track_id)
        roll = before.roll if before else None
        if track.face.landmarks is None:
            return roll
        return smooth(roll, roll_deg(track.face.landmarks), track.last_seen_s, self.judgement.smoothing_s)

    def _classify(
        self, image: NDArray[np.uint8], seen: list[Track], rolls: dict[int, Smoothed[float] | None]
    ) -> dict[int, Scores]:
        """Scores by track number, of the faces that can be judged."""
        crops = {}
        for track in seen:
            roll = rolls[track.track_id]
            crop = crop_face(image, track.face, self._geometry, *self._input_hw, roll.value if roll else 0.0)
            if why_not_judged(track.face, crop, self.judgement) is None:
                crops[track.track_id] = crop
        return dict(zip(crops, self._classifier.classify(list(crops.values())), strict=True)) if crops else {}

    def _end(self, track_id: int, now_s: float, time: datetime) -> EmotionEvent:
        person = self._people.pop(track_id)
        return self._event(EventType.END, person, person.judgement.emotion, now_s, time)

    def _event(
        self, event_type: EventType, person: _Person, previous: str | None, now_s: float, time: datetime
    ) -> EmotionEvent:
        track, judgement = person.track, person.judgement
        # A face counts as there until it has been unseen for longer than max_age_s; then it left when last seen.
        until_s = now_s if now_s - track.last_seen_s <= self._max_age_s else track.last_seen_s
        seq, self._seq = self._seq, self._seq + 1
        return EmotionEvent(
            event_type=event_type,
            id=self._new_id(time),
            track_id=track.track_id,
            seq=seq,
            time=time,
            emotion=judgement.emotion,
            previous=previous,
            confidence=judgement.confidence,
            probabilities=judgement.probabilities,
            duration_s=until_s - track.first_seen_s,
            box=person.share,
            backend=self._classifier.backend,
        )

    def _foremost(self) -> State:
        """The largest face, with a margin for the one that was it before."""
        if not self._people:
            return NOBODY

        def size(person: _Person) -> float:
            held = person.track.track_id == self.state.track_id
            return person.track.face.box.area * (_FOREMOST_MARGIN if held else 1.0)

        person = max(self._people.values(), key=size)
        judgement = person.judgement
        state = State(judgement.emotion, judgement.confidence, len(self._people), person.track.track_id)
        same = replace(state, confidence=self.state.confidence) == self.state
        near = math.isclose(state.confidence, self.state.confidence, abs_tol=_CONFIDENCE_STEP)
        return self.state if same and near else state
