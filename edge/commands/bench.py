"""``python -m edge bench``: what each stage of the real main loop costs, by wrappers around its parts."""

import argparse
import json
import os
import platform
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edge.config import load_settings
from edge.errors import EXIT_OK, UsageError
from edge.interfaces import EmotionClassifier, EventSink, FaceDetector, FrameSource
from edge.life import quantile
from edge.records import Command, EmotionEvent, Face, Frame, Scores, State, Stats, Status, Track

if TYPE_CHECKING:
    from edge.pipeline import Pipeline

STAGES = ("decode", "detect", "track", "crop", "classify", "judge", "publish", "rest")
"""detect and classify are the networks with their own scaling; judge is smoothing and decisions; rest is the loop
itself: health, governor, meters."""
NETWORKS_AND_DECODE = ("decode", "detect", "classify")
WARM_UP_FRAMES = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--source", metavar="S", help="a camera or file; else the demo's clip, again and again")
    parser.add_argument("--seconds", type=float, default=20.0, metavar="N", help="how long (default 20)")
    parser.add_argument("--json", action="store_true", help="one JSON document instead of a table")


@dataclass
class Stopwatch:
    """Collects seconds by stage and frame: a stage lasts from the mark before to its own."""

    frames: list[dict[str, float]] = field(default_factory=list)
    _current: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    _mark_s: float = field(default_factory=time.perf_counter)

    def mark(self, stage: str) -> None:
        """The time since the last mark was spent in ``stage``."""
        now_s = time.perf_counter()
        self._current[stage] += now_s - self._mark_s
        self._mark_s = now_s

    def next_frame(self) -> None:
        self.frames.append(self._current)
        self._current = defaultdict(float)


class TimedDetector:
    def __init__(self, detector: FaceDetector, watch: Stopwatch) -> None:
        self.name, self._detector, self._watch = detector.name, detector, watch

    def detect(self, image: NDArray[np.uint8]) -> list[Face]:
        self._watch.mark("rest")
        faces = self._detector.detect(image)
        self._watch.mark("detect")
        return faces

    def close(self) -> None:
        self._detector.close()


class TimedTracker:
    """Around the pipeline's tracker: what follows it until the classifier is called is cropping."""

    def __init__(self, tracker: Any, watch: Stopwatch) -> None:
        self._tracker, self._watch = tracker, watch

    def update(self, faces: list[Face], now_s: float) -> list[Track]:
        tracks: list[Track] = self._tracker.update(faces, now_s)
        self._watch.mark("track")
        return tracks

    def clear(self) -> None:
        self._tracker.clear()


class TimedClassifier:
    def __init__(self, classifier: EmotionClassifier, watch: Stopwatch) -> None:
        self.labels, self._classifier, self._watch = classifier.labels, classifier, watch

    @property
    def backend(self) -> str:
        return self._classifier.backend

    def classify(self, crops: Sequence[NDArray[np.uint8]]) -> list[Scores]:
        self._watch.mark("crop")
        scores = self._classifier.classify(crops)
        self._watch.mark("classify")
        return scores

    def close(self) -> None:
        self._classifier.close()


class TimedSink:
    def __init__(self, sink: EventSink, watch: Stopwatch) -> None:
        self._sink, self._watch = sink, watch

    def _timed(self, call: Callable[[], object]) -> None:
        self._watch.mark("rest")
        call()
        self._watch.mark("publish")

    def event(self, event: EmotionEvent) -> None:
        self._timed(lambda: self._sink.event(event))

    def state(self, state: State) -> None:
        self._timed(lambda: self._sink.state(state))

    def status(self, status: Status) -> None:
        self._timed(lambda: self._sink.status(status))

    def stats(self, stats: Stats) -> None:
        self._timed(lambda: self._sink.stats(stats))

    def commands(self) -> Iterable[Command]:
        return self._sink.commands()

    def close(self) -> None:
        self._sink.close()


class TimedCamera:
    """A Camera that reads in the main thread, so that decoding is timed too; a file is played again until the end."""

    condition, reason, dropped, closed = "ok", "", 0, True

    def __init__(self, open_source: Callable[[], FrameSource], seconds: float, watch: Stopwatch) -> None:
        self.ended = False
        self._open_source, self._watch = open_source, watch
        self._source: FrameSource | None = None
        self._end_s = time.monotonic() + seconds
        self._last: Frame | None = None
        self._shift_s = 0.0
        self.frames = 0

    def open(self) -> None:
        self._source = self._open_source()

    def pause(self) -> None:
        if self._source is not None:
            self._source.close()

    def take(self, timeout_s: float) -> Frame | None:
        self._watch.mark("rest")
        self._watch.next_frame()
        if self._source is None or time.monotonic() > self._end_s:
            self.ended = True
            return None
        frame = self._source.read()
        if frame is None and not self._source.live:
            self._source.close()
            self.open()
            self._shift_s += (self._last.monotonic_s if self._last else 0.0) + 1.0
            frame = self._source.read()
        self._last = frame
        self._watch.mark("decode")
        if frame is None:
            return None
        self.frames += 1
        shift = timedelta(seconds=self._shift_s)
        return replace(frame, monotonic_s=frame.monotonic_s + self._shift_s, captured_at=frame.captured_at + shift)


def run(args: argparse.Namespace) -> int:
    """Plays the source through the real pipeline, loop and sink. 0."""
    from edge.demo import CLIP

    if not 0.5 <= args.seconds <= 86400:
        raise UsageError(f"expected --seconds from 0.5 to 86400, got {args.seconds:g}; change it")
    figures = measure({"camera.source": args.source or str(CLIP)}, args.seconds)
    print(json.dumps(figures, indent=2) if args.json else table(figures))
    return EXIT_OK


def measure(flags: dict[str, str | Path | None], seconds: float) -> dict[str, Any]:
    """Time the real loop on the source in ``flags``, publishing to a broker on this machine. All figures."""
    from edge.app import compose
    from edge.appliance import Appliance
    from edge.cameras.open import open_source
    from edge.cameras.source import parse_source
    from edge.embedded_broker import embedded_broker
    from edge.life import Signals, rss_mb
    from edge.runtimes.tflite import runtime_name

    watch = Stopwatch()
    settings = load_settings(None, {"device.id": "bench", **flags})
    source = parse_source(settings.camera.source)
    with ExitStack() as stack:
        broker = stack.enter_context(embedded_broker())
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="emotion-edge-bench-"))
        settings = replace(
            settings,
            device=replace(settings.device, state_dir=Path(folder)),
            mqtt=replace(settings.mqtt, broker=broker.url),
        )
        parts = compose(settings, not source.live, stack)
        instrument(parts.pipeline, watch)
        camera = TimedCamera(lambda: open_source(settings.camera, fast=True), seconds, watch)
        stack.callback(camera.pause)
        parts = replace(parts, camera=camera, sink=TimedSink(parts.sink, watch))
        appliance = Appliance(settings, parts, stack.enter_context(Signals()))
        began_s, cpu_s = time.monotonic(), time.process_time()
        appliance.serve()
        elapsed_s, cpu_s = time.monotonic() - began_s, time.process_time() - cpu_s
        figures = {
            "schema": "emotion-edge/bench/1",
            "source": source.name,
            "detector": parts.detector,
            "backend": parts.backend.backend,
            "runtime": runtime_name(),
            "broker": broker.name,
            "machine": f"{platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}",
            "frames": camera.frames,
            "faces": appliance.faces,
            "events": appliance.events,
            "fps": round(camera.frames / elapsed_s, 2),
            "cpu_s_per_frame": round(cpu_s / max(1, camera.frames), 5),
            "rss_mb": round(rss_mb(), 1),
        }
    return figures | shares(watch.frames[WARM_UP_FRAMES:])


def instrument(pipeline: "Pipeline", watch: Stopwatch) -> None:
    """Wrap what the pipeline calls. From outside, so that the pipeline itself knows nothing of clocks."""
    pipeline._detector = TimedDetector(pipeline._detector, watch)
    pipeline._tracker = TimedTracker(pipeline._tracker, watch)  # type: ignore[assignment]
    pipeline._classifier = TimedClassifier(pipeline._classifier, watch)
    step = pipeline.step

    def timed_step(frame: Frame) -> list[EmotionEvent]:
        events = step(frame)
        watch.mark("judge")
        return events

    pipeline.step = timed_step  # type: ignore[method-assign]


def shares(frames: list[dict[str, float]]) -> dict[str, Any]:
    """p50 and p95 over the frames in which a stage ran, its share of all the time, and the overhead's."""
    total_s = sum(sum(frame.values()) for frame in frames) or 1e-9
    stages = {}
    for stage in STAGES:
        times = [frame[stage] for frame in frames if stage in frame]
        p50, p95 = (round(quantile(times, share) * 1000, 3) for share in (0.5, 0.95))
        stages[stage] = {"p50_ms": p50, "p95_ms": p95, "share": round(sum(times) / total_s, 4), "frames": len(times)}
    overhead = 1.0 - sum(stages[stage]["share"] for stage in NETWORKS_AND_DECODE)
    return {"overhead_share": round(overhead, 4), "stages": stages}


def table(figures: dict[str, Any]) -> str:
    """The figures for a person."""
    lines = [f"{'stage':<10}{'p50 ms':>10}{'p95 ms':>10}{'share':>9}{'frames':>9}"]
    for stage, row in figures["stages"].items():
        lines.append(f"{stage:<10}{row['p50_ms']:>10.3f}{row['p95_ms']:>10.3f}{row['share']:>9.1%}{row['frames']:>9}")
    lines.append("")
    names = ("frames", "fps", "cpu_s_per_frame", "rss_mb", "faces", "events", "source", "detector", "backend")
    lines += [f"{name:<17}{figures[name]}" for name in (*names, "runtime", "broker", "machine")]
    lines.append(f"{'overhead':<17}{figures['overhead_share']:.1%} of a frame is neither network nor decode")
    return "\n".join(lines)
