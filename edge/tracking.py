"""Follows faces over frames: a greedy tracker that knows no camera and no detector.

Each track predicts its box by constant velocity; detections and predictions are paired nearest first within a gate.
"""

import math
from dataclasses import dataclass, replace

from edge.records import Box, Face, Track
from edge.settings import TrackingSettings

_MIN_IOU = 0.3
"""Boxes that overlap this much match even where their centres are outside the gate (SORT's gate, Bewley 2016)."""
_VELOCITY_GAIN = 0.5
"""Share of the newest step in the velocity: half of it forgives a detector's jitter."""


def iou(a: Box, b: Box) -> float:
    """Intersection over union of two boxes, 0..1; 0 where both are empty."""
    common = a.common_area(b)
    union = a.area + b.area - common
    return common / union if union > 0 else 0.0


def distance(a: Box, b: Box) -> float:
    """Distance of the centres as a share of the boxes' mean side."""
    (ax, ay), (bx, by) = a.centre, b.centre
    side = (a.width + a.height + b.width + b.height) / 4
    return math.hypot(ax - bx, ay - by) / max(side, 1e-6)


@dataclass(frozen=True, slots=True)
class _Path:
    """A track, or what may become one (track_id 0), and its speed in pixels a second."""

    track: Track
    velocity: tuple[float, float] = (0.0, 0.0)

    def predict(self, now_s: float) -> Box:
        box, gap_s = self.track.face.box, now_s - self.track.last_seen_s
        return replace(box, left=box.left + self.velocity[0] * gap_s, top=box.top + self.velocity[1] * gap_s)

    def follow(self, face: Face, now_s: float) -> "_Path":
        gap_s = now_s - self.track.last_seen_s
        velocity = self.velocity
        if gap_s > 0:
            (x0, y0), (x1, y1) = self.track.face.box.centre, face.box.centre
            steps = ((x1 - x0) / gap_s, (y1 - y0) / gap_s)
            vx, vy = (old + _VELOCITY_GAIN * (new - old) for old, new in zip(self.velocity, steps, strict=True))
            velocity = (vx, vy)
        return _Path(replace(self.track, face=face, last_seen_s=now_s, hits=self.track.hits + 1), velocity)


class Tracker:
    """Turns each frame's detections into tracks with lasting numbers.

    A face becomes a track after ``min_hits`` detections in consecutive frames and ends when unseen for longer than
    ``max_age_s``. The order in which a detector lists its faces never matters.
    """

    def __init__(self, settings: TrackingSettings) -> None:
        self._settings = settings
        self._paths: list[_Path] = []
        self._last_id = 0

    def update(self, faces: list[Face], now_s: float) -> list[Track]:
        """All living confirmed tracks by number; those seen in this frame have ``last_seen_s == now_s``.

        now_s: Frame.monotonic_s, never less than at the call before.
        """
        old = [path for path in self._paths if now_s - path.track.last_seen_s <= self._settings.max_age_s]
        pairs = self._match(old, faces, now_s)
        # A tentative path (number 0) that misses a single frame is forgotten: false faces flicker.
        kept = [
            path.follow(faces[pairs[index]], now_s) if index in pairs else path
            for index, path in enumerate(old)
            if index in pairs or path.track.track_id
        ]
        new = [face for index, face in enumerate(faces) if index not in pairs.values()]
        kept += [_Path(Track(0, face, now_s, now_s, 1)) for face in sorted(new, key=_reading_order)]
        self._paths = [self._confirm(path) for path in kept]
        return sorted((path.track for path in self._paths if path.track.track_id), key=lambda track: track.track_id)

    def clear(self) -> None:
        """Forget every face; numbers are not used again."""
        self._paths = []

    def _match(self, paths: list[_Path], faces: list[Face], now_s: float) -> dict[int, int]:
        """Path index -> face index, nearest pairs first, each used once."""
        candidates = []
        for p, path in enumerate(paths):
            predicted = path.predict(now_s)
            for f, face in enumerate(faces):
                apart, overlap = distance(predicted, face.box), iou(predicted, face.box)
                if apart <= self._settings.gate or overlap >= _MIN_IOU:
                    # A confirmed track is served before a tentative one.
                    candidates.append((path.track.track_id == 0, apart, _reading_order(face), p, f))
        pairs: dict[int, int] = {}
        for *_, p, f in sorted(candidates):
            if p not in pairs and f not in pairs.values():
                pairs[p] = f
        return pairs

    def _confirm(self, path: _Path) -> _Path:
        if path.track.track_id or path.track.hits < self._settings.min_hits:
            return path
        self._last_id += 1
        return replace(path, track=replace(path.track, track_id=self._last_id))


def _reading_order(face: Face) -> tuple[float, float, float, float]:
    return face.box.left, face.box.top, face.box.width, face.box.height
