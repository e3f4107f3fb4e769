"""What a process must know about itself to live for a year: signals, memory, figures of its last minute."""

import os
import signal
from collections import deque
from pathlib import Path
from types import FrameType
from typing import Self

_PAGE_MB = os.sysconf("SC_PAGE_SIZE") / 2**20


def rss_mb(statm: Path = Path("/proc/self/statm")) -> float:
    """This process's resident memory in MiB; 0.0 where /proc does not tell."""
    try:
        return int(statm.read_text().split()[1]) * _PAGE_MB
    except (OSError, ValueError, IndexError):
        return 0.0


def peak_rss_mb(status: Path = Path("/proc/self/status")) -> float:
    """The most memory this program has had resident, in MiB; 0.0 where /proc does not tell.

    Not ru_maxrss: that begins with what the parent had when it forked.
    """
    try:
        return int(status.read_text().partition("VmHWM:")[2].split()[0]) / 1024
    except (OSError, ValueError, IndexError):
        return 0.0


class Signals:
    """SIGTERM and SIGINT ask to stop, SIGHUP to reload; a second SIGINT ends at once.

    Handlers only set plain flags, which the main loop reads at least five times a second: taking a lock in a handler
    could wait for the very code it interrupted.
    """

    def __init__(self) -> None:
        self.stop: str | None = None
        """Name of the signal that asked, None while none did."""
        self.reload = False
        self._before: dict[int, object] = {}

    def __enter__(self) -> Self:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _handle(self, number: int, _: FrameType | None) -> None:
        if number == signal.SIGHUP:
            self.reload = True
            return
        self.stop = signal.Signals(number).name
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.default_int_handler)


class Meter:
    """Frames a second and latency since the last ``take``, in bounded memory."""

    def __init__(self, now_s: float, keep: int = 10_000) -> None:
        self._latencies: deque[float] = deque(maxlen=keep)
        self._steps = 0
        self._since_s = now_s
        self.total = 0
        """Steps over the whole run."""

    def step(self, latency_s: float) -> None:
        """One frame done, ``latency_s`` after it was captured."""
        self._latencies.append(latency_s)
        self._steps += 1
        self.total += 1

    def take(self, now_s: float) -> tuple[float, float, float]:
        """(frames a second, latency p50 in ms, p95 in ms) since the last call; starts afresh."""
        fps = self._steps / max(now_s - self._since_s, 1e-9)
        p50, p95 = quantile(self._latencies, 0.5), quantile(self._latencies, 0.95)
        self._latencies.clear()
        self._steps, self._since_s = 0, now_s
        return fps, p50 * 1000, p95 * 1000


def quantile(values: "deque[float] | list[float]", share: float) -> float:
    """The value that ``share`` of them do not exceed (nearest rank); 0.0 of none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


class Every:
    """True once in each interval; an interval missed is not made up for."""

    def __init__(self, interval_s: float, now_s: float) -> None:
        self.interval_s = interval_s
        self._next_s = now_s + interval_s

    def due(self, now_s: float) -> bool:
        if now_s < self._next_s:
            return False
        self._next_s = now_s + self.interval_s
        return True
