"""Stand-ins for the hardware edges, shipped so that anyone can try the pipeline without a camera, model or broker.

Each plays a script. They keep the Protocols' promises, so what works with them works with the real parts.
"""

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from edge.records import Command, EmotionEvent, Face, Frame, Scores, State, Stats, Status

START = datetime(2025, 1, 1, tzinfo=UTC)
"""When scripted frames begin."""


class ScriptedSource:
    """A FrameSource that gives ``pictures`` at ``fps`` by its own clock, never waiting; then the end.

    A picture is a (H, W, 3) BGR uint8 array, or an exception to raise in its place: TimeoutError for a camera that
    stalls, SourceError for one that is lost. ``repeat`` plays the script so many times.
    """

    name = "scripted"

    def __init__(
        self,
        pictures: Sequence[NDArray[np.uint8] | Exception],
        fps: float = 10.0,
        *,
        live: bool = False,
        repeat: int = 1,
    ) -> None:
        self.live = live
        self.closed = False
        self._pictures = pictures
        self._fps = fps
        self._end = len(pictures) * repeat
        self._position = 0
        self._sequence = 0

    def read(self) -> Frame | None:
        if self.closed or self._position >= self._end:
            return None
        picture = self._pictures[self._position % len(self._pictures)]
        seconds = self._position / self._fps
        self._position += 1
        if isinstance(picture, Exception):
            raise picture
        self._sequence += 1
        return Frame(picture, seconds, START + timedelta(seconds=seconds), self._sequence - 1)

    def close(self) -> None:
        self.closed = True


class ScriptedDetector:
    """A FaceDetector that finds ``script[n]`` in the n-th frame, and nothing after the script's end."""

    name = "scripted"

    def __init__(self, script: Iterable[Sequence[Face]]) -> None:
        self._script = iter(script)
        self.closed = False

    def detect(self, image: NDArray[np.uint8]) -> list[Face]:
        return list(next(self._script, ()))

    def close(self) -> None:
        self.closed = True


class ScriptedClassifier:
    """An EmotionClassifier that answers with ``script``, one answer a crop, and its last answer for ever after.

    An answer is a label (probability .9, the rest shared by the others), the probabilities by label, or an exception
    to raise; or ``script`` is a function from a crop to one of these.
    """

    def __init__(
        self,
        labels: tuple[str, ...],
        script: Sequence[str | Mapping[str, float] | Exception]
        | Callable[[NDArray[np.uint8]], str | Mapping[str, float]],
        backend: str = "scripted",
    ) -> None:
        self.labels = labels
        self.backend = backend
        self.crops: deque[NDArray[np.uint8]] = deque(maxlen=100)
        """The latest crops that were asked about."""
        self.closed = False
        self._script = script
        self._position = 0

    def classify(self, crops: Sequence[NDArray[np.uint8]]) -> list[Scores]:
        return [self._answer(crop) for crop in crops]

    def close(self) -> None:
        self.closed = True

    def _answer(self, crop: NDArray[np.uint8]) -> Scores:
        self.crops.append(crop)
        if callable(self._script):
            answer: str | Mapping[str, float] | Exception = self._script(crop)
        else:
            answer = self._script[min(self._position, len(self._script) - 1)]
            self._position += 1
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, str):
            rest = 0.1 / max(1, len(self.labels) - 1)
            answer = {label: 0.9 if label == answer else rest for label in self.labels}
        return Scores(self.labels, np.array([answer.get(label, 0.0) for label in self.labels], np.float32))


class MemorySink:
    """An EventSink that keeps what it was given, in order, and hands out ``commands`` put into it."""

    def __init__(self) -> None:
        self.events: list[EmotionEvent] = []
        self.states: list[State] = []
        self.statuses: list[Status] = []
        self.all_stats: list[Stats] = []
        self.waiting: deque[Command] = deque()
        """Commands that the next call of ``commands`` hands out."""
        self.closed = False

    def event(self, event: EmotionEvent) -> None:
        self.events.append(event)

    def state(self, state: State) -> None:
        self.states.append(state)

    def status(self, status: Status) -> None:
        self.statuses.append(status)

    def stats(self, stats: Stats) -> None:
        self.all_stats.append(stats)

    def commands(self) -> Iterable[Command]:
        taken = list(self.waiting)
        self.waiting.clear()
        return taken

    def close(self) -> None:
        self.closed = True
