"""A day in minutes: does anything grow? The real loop, pipeline and MQTT sink, on a clock of their own.

    .venv-edge/bin/python -m benchmarks.soak --steps 200000

Frames are real (the clips given, else the demo's) and synthetic (noise, black, other sizes). 200,000 of them take 24
hours of the loop's clock. Prints memory and open files at every tenth. Exit 1 where, after the warm-up of the first
tenth, resident memory grew by 5 MB or more, or more files are open at the end.
"""

import argparse
import itertools
import logging
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.app import compose
from edge.appliance import Appliance
from edge.cameras.video_file import VideoFile
from edge.config import load_settings
from edge.demo import CLIP
from edge.embedded_broker import embedded_broker
from edge.life import Signals, rss_mb
from edge.records import Frame

STEP_S = 86_400 / 200_000
LIMIT_MB = 5.0
START = datetime(2026, 1, 1, tzinfo=UTC)


def pictures(clips: list[Path], most: int = 200) -> list[NDArray[np.uint8]]:
    """Real frames at 320 px, up to ``most`` a clip, and synthetic ones of other sizes among them."""
    found: list[NDArray[np.uint8]] = []
    rng = np.random.default_rng(1)
    for clip in clips:
        source = VideoFile(clip, fast=True)
        for frame in itertools.islice(iter(source.read, None), most):
            height, width = frame.image.shape[:2]
            small = cv2.resize(frame.image, (320, round(320 * height / width)), interpolation=cv2.INTER_AREA)
            found.append(np.asarray(small, dtype=np.uint8))
        source.close()
        found.append(rng.integers(0, 255, (240, 320, 3), dtype=np.uint8))
        found.append(np.zeros((120, 160, 3), np.uint8))
        found.append(rng.integers(0, 255, (97, 131, 3), dtype=np.uint8))
    return found


class Day:
    """A Camera that plays the pictures again and again on its own clock, and looks at this process."""

    condition, reason, dropped, closed = "ok", "", 0, True

    def __init__(self, images: list[NDArray[np.uint8]], steps: int) -> None:
        self.ended = False
        self.now_s = 0.0
        self.rows: list[tuple[int, float, int]] = []
        """(steps, resident MB, open files) at every tenth."""
        self._images, self._steps, self._step = images, steps, 0

    def open(self) -> None: ...

    def pause(self) -> None: ...

    def take(self, timeout_s: float) -> Frame | None:
        if self._step % max(1, self._steps // 10) == 0:
            self.rows.append((self._step, rss_mb(), len(list(Path("/proc/self/fd").iterdir()))))
            step, memory_mb, files = self.rows[-1]
            print(
                f"{step:>9} steps  {memory_mb:>8.2f} MB  {files:>4} files  {time.process_time():>8.0f} CPU s",
                flush=True,
            )
        if self._step >= self._steps:
            self.ended = True
            return None
        image = self._images[self._step % len(self._images)]
        self.now_s += STEP_S
        self._step += 1
        return Frame(image, self.now_s, START + timedelta(seconds=self.now_s), self._step)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=200_000)
    parser.add_argument("--clip", type=Path, action="append", help="real frames; may be given several times")
    parser.add_argument("--bundle", type=Path, help="else models/emotion")
    parser.add_argument("--config", type=Path, help="for the detector, say")
    args = parser.parse_args()
    logging.basicConfig(level=logging.ERROR, stream=sys.stderr)
    settings = load_settings(args.config, {"camera.source": str(CLIP), "classifier.bundle": args.bundle})
    with ExitStack() as stack:
        broker = stack.enter_context(embedded_broker())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="emotion-edge-soak-")))
        settings = replace(
            settings,
            device=replace(settings.device, state_dir=folder),
            mqtt=replace(settings.mqtt, broker=broker.url),
            life=replace(settings.life, rss_limit_mb=1e6),
        )
        parts = compose(settings, True, stack)
        day = Day(pictures(args.clip or [CLIP]), args.steps)
        signals = stack.enter_context(Signals())
        appliance = Appliance(settings, replace(parts, camera=day), signals, clock=lambda: day.now_s)
        began_s = time.monotonic()
        appliance.serve()
        took_s = time.monotonic() - began_s
    after = day.rows[1:]  # the first tenth is warm-up
    growth_mb = max(memory for _, memory, _ in after) - after[0][1]
    files = [count for _, _, count in after]
    print(
        f"{appliance.reporter.run.total} steps as {day.now_s / 3600:.1f} hours in {took_s:.0f} s ({parts.detector}, "
        f"{parts.backend.backend}, {broker.name}): {appliance.faces} faces, {appliance.events} events; "
        f"growth {growth_mb:.2f} MB, open files {files[0]} to {files[-1]}, {parts.delivery.reconnects} reconnects"
    )
    return 0 if growth_mb < LIMIT_MB and files[-1] <= files[0] else 1


if __name__ == "__main__":
    sys.exit(main())
