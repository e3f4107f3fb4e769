"""The records that flow through the device, frozen. Events never hold pixels, by type."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

UNKNOWN = "unknown"
"""The emotion of a face that is tracked but not judged, or whose calibrated confidence is below the threshold."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture and when it was taken. The camera stamps both clocks, so that the pipeline needs none."""

    image: NDArray[np.uint8]
    """(H, W, 3) uint8, BGR."""
    monotonic_s: float
    """Seconds on a clock that never jumps: every duration is computed from it."""
    captured_at: datetime
    """Timezone-aware UTC: what subscribers see."""
    sequence: int
    """Counts frames the camera produced, from 0; a gap is a dropped frame."""


@dataclass(frozen=True, slots=True)
class Box:
    """An axis-aligned rectangle in pixels of the frame; may reach over its edge."""

    left: float
    top: float
    width: float
    height: float

    @property
    def centre(self) -> tuple[float, float]:
        return self.left + self.width / 2, self.top + self.height / 2

    @property
    def area(self) -> float:
        return self.width * self.height

    def common_area(self, other: "Box") -> float:
        """Square pixels that both cover."""
        width = min(self.left + self.width, other.left + other.width) - max(self.left, other.left)
        height = min(self.top + self.height, other.top + other.height) - max(self.top, other.top)
        return max(0.0, width) * max(0.0, height)


Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Landmarks:
    """Five points in pixels of the frame. Right and left are the subject's: right_eye is on the picture's left."""

    right_eye: Point
    left_eye: Point
    nose: Point
    mouth_right: Point
    mouth_left: Point


@dataclass(frozen=True, slots=True)
class Face:
    """One detection in one frame."""

    box: Box
    confidence: float
    """The detector's score in 0..1; 1.0 where a detector gives none (Haar)."""
    landmarks: Landmarks | None = None


@dataclass(frozen=True, slots=True)
class Scores:
    """Calibrated class probabilities of one face in one frame."""

    labels: tuple[str, ...]
    probabilities: NDArray[np.float32]
    """(C,) float32, in label order, sums to 1."""

    @property
    def top(self) -> tuple[str, float]:
        """The most probable label and its probability."""
        index = int(np.argmax(self.probabilities))
        return self.labels[index], float(self.probabilities[index])


@dataclass(frozen=True, slots=True)
class Track:
    """One person's face followed over frames."""

    track_id: int
    """From 1, never reused within a run."""
    face: Face
    """The latest detection."""
    first_seen_s: float
    last_seen_s: float
    """Frame.monotonic_s of the first and the latest detection."""
    hits: int
    """Detections so far."""


class EventType(StrEnum):
    START = "start"
    CHANGE = "change"
    END = "end"


@dataclass(frozen=True, slots=True)
class EmotionEvent:
    """One face's start, change or end. Everything a subscriber learns about it; no pixels."""

    event_type: EventType
    id: str
    """A ULID: unique, so that a subscriber can drop repeats."""
    track_id: int
    seq: int
    """Gap-free from 0 within a run, so that loss shows."""
    time: datetime
    """UTC, when it happened, not when it was sent."""
    emotion: str
    """A label of the bundle, or ``unknown``."""
    previous: str | None
    """The emotion before; None at a start."""
    confidence: float
    """Calibrated and smoothed probability of ``emotion``, 0..1; of the best label where emotion is unknown."""
    probabilities: dict[str, float]
    """All classes, smoothed; empty where the face was never judged."""
    duration_s: float
    """How long the face has been tracked."""
    box: tuple[float, float, float, float]
    """left, top, width, height as shares 0..1 of the frame, clipped to it."""
    backend: str
    """What ran the classifier, e.g. ``cpu:tflite-runtime`` or ``edgetpu``."""


@dataclass(frozen=True, slots=True)
class State:
    """What a dashboard shows: the foremost (largest) confirmed face. Published when it changes."""

    emotion: str
    """A label, ``unknown``, or ``none`` where there is no face."""
    confidence: float
    faces: int
    track_id: int | None


@dataclass(frozen=True, slots=True)
class Status:
    """The appliance's health. Published on change and every 60 s."""

    health: str
    """ok, degraded or fault."""
    reasons: tuple[str, ...]
    """One sentence for each thing that is not as configured; empty when ok."""
    backend: str
    detector: str
    camera: str
    """ok, stalled or lost."""
    uptime_s: float


@dataclass(frozen=True, slots=True)
class Stats:
    """Figures of the last minute; None where this machine can't tell."""

    fps: float
    latency_p50_ms: float
    latency_p95_ms: float
    dropped_frames: int
    rss_mb: float
    reconnects: int
    outbox: int = 0
    """Events waiting for the broker."""
    events_discarded: int = 0
    """Events given up because the outbox was full."""
    changes_withheld: int = 0
    """``change`` events withheld since the start, because a face had too many in a minute."""
    temperature_c: float | None = None
    throttled: bool | None = None


@dataclass(frozen=True, slots=True)
class Command:
    """A validated request from a subscriber, handed to the main thread."""

    name: str
    """detect, privacy, threshold or restart."""
    value: bool | float | None = None


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """A quantized (or float) tensor's outside."""

    shape: tuple[int, ...]
    dtype: str
    """numpy name: int8, uint8, float32."""
    scale: float = 0.0
    zero_point: int = 0
    """real = (q - zero_point) * scale; scale 0.0 means not quantized."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who speaks: constant over a run, part of every payload."""

    device_id: str
    camera: str
    model_name: str
    model_version: str
    software_version: str
    extra: dict[str, Any] = field(default_factory=dict)
