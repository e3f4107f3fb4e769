"""How steady and how quick the announced emotions are: the table that JudgementSettings' defaults are chosen from.

    python -m benchmarks.judgement                the shipped defaults, clip by clip
    python -m benchmarks.judgement --sweep        many settings, all clips together

Plays clips with the real detector and the real bundle, every frame, on the clips' own clock, so the figures do not
depend on the machine. Columns, for all faces of a clip together:

    raw/min      changes of the most probable label a minute, from frame to frame, unsmoothed
    events/min   ``change`` events a minute
    delay        seconds from a label's first appearance (after the event before) to its event: median, longest
    unknown      share of the tracked time in which the announced emotion is ``unknown``
    unjudged     share of the frames in which the face could not be judged
"""

import argparse
import itertools
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2

from edge.bundle import load_bundle
from edge.cameras.video_file import VideoFile
from edge.classifiers.emotion import BundleClassifier
from edge.decisions import Judgement, judge
from edge.detectors.haar import HaarDetector
from edge.detectors.yunet import YunetDetector
from edge.interfaces import FaceDetector
from edge.preprocess import crop_face, roll_deg
from edge.quality import why_not_judged
from edge.records import UNKNOWN, Scores
from edge.runtimes.tflite import TfliteModel
from edge.settings import JudgementSettings, TrackingSettings
from edge.smoothing import Smoothed, smooth
from edge.tracking import Tracker
from tests.devdata import SHARED

CLIPS = (
    "single_face.mp4",
    "WolfgangLanger_Pexels.mp4",
    "noface_face.mov",
    "no_face.mp4",
    "again.mkv",
    "book.mkv",
    "face-demographics-walking-and-pause.gif",
    "head-pose-face-detection-female.gif",
)
SWEEP = {
    "smoothing_s": (0.0, 0.3, 0.6, 1.0),
    "dwell_s": (0.0, 0.3, 0.5, 0.7, 1.0),
    "hysteresis": (0.0, 0.1, 0.2),
    "confidence_threshold": (0.25, 0.35, 0.45),
}

Timeline = list[tuple[float, Scores | None, str | None]]
"""For each frame in which a face was seen: seconds, scores or None, why it was not judged."""


def timelines(clip: Path, detector: FaceDetector, bundle_folder: Path, settings: JudgementSettings) -> list[Timeline]:
    """Every tracked face's frame by frame scores, as the pipeline sees them before it judges."""
    bundle = load_bundle(bundle_folder)
    classifier = BundleClassifier(TfliteModel(bundle.path("int8")), bundle)
    geometry, (_, height, width, _) = bundle.crops[detector.name], bundle.input.shape
    tracker, faces = Tracker(TrackingSettings()), dict[int, Timeline]()
    rolls: dict[int, Smoothed[float]] = {}
    source = VideoFile(clip, fast=True)
    while (frame := source.read()) is not None:
        now_s = frame.monotonic_s
        for track in tracker.update(detector.detect(frame.image), now_s):
            if track.last_seen_s != now_s:
                continue
            number, roll = track.track_id, 0.0
            if track.face.landmarks:
                rolls[number] = smooth(rolls.get(number), roll_deg(track.face.landmarks), now_s, settings.smoothing_s)
                roll = rolls[number].value
            crop = crop_face(frame.image, track.face, geometry, height, width, roll)
            reason = why_not_judged(track.face, crop, settings)
            scores = None if reason else classifier.classify([crop])[0]
            faces.setdefault(number, []).append((now_s, scores, reason))
    source.close()
    return list(faces.values())


@dataclass
class Figures:
    """Sums over faces, so that clips can be added up."""

    seconds: float = 0.0
    frames: int = 0
    unjudged: int = 0
    raw_changes: int = 0
    events: int = 0
    unknown_s: float = 0.0
    delays_s: list[float] = field(default_factory=list)
    story: list[str] = field(default_factory=list)

    def add(self, other: "Figures") -> None:
        for name in ("seconds", "frames", "unjudged", "raw_changes", "events", "unknown_s", "delays_s"):
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def row(self) -> str:
        minutes = self.seconds / 60
        if not minutes:
            return f"{0.0:7.1f} {'-':>8} {'-':>10} {'-':>12} {'-':>8} {'-':>9}"
        delays = f"{statistics.median(self.delays_s):.2f}/{max(self.delays_s):.2f}" if self.delays_s else "-"
        return (
            f"{self.seconds:7.1f} {self.raw_changes / minutes:8.1f} {self.events / minutes:10.1f} {delays:>12} "
            f"{self.unknown_s / self.seconds:8.1%} {self.unjudged / self.frames:9.1%}"
        )


HEADER = f"{'face s':>7} {'raw/min':>8} {'events/min':>10} {'delay med/max':>12} {'unknown':>8} {'unjudged':>9}"


def measure(faces: Iterable[Timeline], settings: JudgementSettings) -> Figures:
    """Judge recorded faces by ``settings`` and count."""
    total = Figures()
    for face in faces:
        total.add(_measure_face(face, settings, total.story))
    return total


def _measure_face(face: Timeline, settings: JudgementSettings, story: list[str]) -> Figures:
    figures = Figures(seconds=face[-1][0] - face[0][0], frames=len(face))
    labels = [scores.top[0] for _, scores, _ in face if scores]
    figures.unjudged = len(face) - len(labels)
    figures.raw_changes = sum(a != b for a, b in itertools.pairwise(labels))
    state: Judgement | None = None
    first_s: dict[str, float] = {}  # when each label first led since the event before
    told: list[str] = []
    for n, (now_s, scores, _) in enumerate(face):
        before, state = state, judge(state, scores, now_s, settings)
        first_s.setdefault(scores.top[0] if scores else UNKNOWN, now_s)
        if n and before and before.emotion == UNKNOWN:
            figures.unknown_s += now_s - face[n - 1][0]
        if before is None or state.emotion != before.emotion:
            told.append(f"{state.emotion}@{now_s:.1f}")
        if before and state.emotion != before.emotion:
            figures.events += 1
            if state.emotion in first_s and state.emotion != UNKNOWN:
                figures.delays_s.append(now_s - first_s[state.emotion])
            first_s.clear()
    story.append(" ".join(told))
    return figures


def sweep(faces: dict[str, list[Timeline]], settings: JudgementSettings) -> None:
    """One row a combination of settings: all clips together, and what is told of the clip whose truth is known."""
    print(f"{'smooth':>6} {'dwell':>6} {'hyst':>6} {'thresh':>6} {HEADER}  single_face.mp4 (truth: neutral, happy)")
    for values in itertools.product(*SWEEP.values()):
        changes: dict[str, Any] = dict(zip(SWEEP, values, strict=True))
        tried = replace(settings, **changes)
        figures = measure((face for clip in faces.values() for face in clip), tried)
        known = " | ".join(measure(faces.get("single_face.mp4", []), tried).story)
        print(" ".join(f"{value:6.2f}" for value in values), figures.row(), "", known)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("clips", nargs="*", type=Path, help="video files; default: the development clips")
    parser.add_argument("--bundle", type=Path, default=Path("models/emotion"))
    parser.add_argument("--detector", choices=("yunet", "haar"), default="yunet")
    parser.add_argument("--yunet", type=Path, default=SHARED / "models/face_detection_yunet_2023mar.onnx")
    parser.add_argument("--sweep", action="store_true", help="many settings instead of the defaults")
    parser.add_argument("--story", action="store_true", help="print every face's announcements too")
    options = parser.parse_args(arguments)
    clips = options.clips or [path for name in CLIPS if (path := SHARED / "media" / name).exists()]
    if not clips or not (options.bundle / "card.json").exists():
        print(f"skipped: no clips, or no bundle at {options.bundle}; name them (see --help)")
        return 0
    cv2.setNumThreads(1)
    detector = YunetDetector(options.yunet) if options.detector == "yunet" else HaarDetector()
    settings = JudgementSettings()
    faces = {clip.name: timelines(clip, detector, options.bundle, settings) for clip in clips}
    if options.sweep:
        sweep(faces, settings)
        return 0
    print(f"{detector.name}, {settings}\n{'clip':40} {HEADER}")
    total = Figures()
    for name, clip in faces.items():
        figures = measure(clip, settings)
        total.add(figures)
        print(f"{name:40} {figures.row()}")
        for line in figures.story if options.story else ():
            print(f"    {line}")
    print(f"{'all':40} {total.row()}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
