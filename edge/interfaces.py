"""The Protocols at the hardware edges. No base classes, no registries: app.py has one dictionary of makers."""

from collections.abc import Iterable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edge.records import Command, EmotionEvent, Face, Frame, Scores, State, Stats, Status, TensorSpec


class FrameSource(Protocol):
    """Gives frames, one at a time, in its own thread or the caller's.

    ``read`` blocks for a bounded time only. Opening happens in the constructor, which raises SourceError.
    """

    name: str
    """The ``--source`` text with any password taken out: safe to log and publish."""
    live: bool
    """True for a camera (reopen for ever), False for a file or folder (the end is the end)."""

    def read(self) -> Frame | None:
        """The next frame (BGR uint8), or None at the end of a file. Raises TimeoutError when a live source gave
        nothing within its bound, SourceError when it is lost."""
        ...

    def close(self) -> None:
        """Release the device. Idempotent."""
        ...


class FaceDetector(Protocol):
    """Finds faces. Stateless between frames; called from the main thread only."""

    name: str
    """yunet, haar or yunet-tflite: the key of the card's crop geometry, published in status."""

    def detect(self, image: NDArray[np.uint8]) -> list[Face]:
        """image: (H, W, 3) BGR uint8, any size. Boxes and landmarks in pixels of that image, best first."""
        ...

    def close(self) -> None: ...


class EmotionClassifier(Protocol):
    """Judges face crops. Called from the main thread only."""

    labels: tuple[str, ...]

    @property
    def backend(self) -> str:
        """What served the latest call, e.g. ``cpu:tflite-runtime``; may change from call to call."""
        ...

    def classify(self, crops: Sequence[NDArray[np.uint8]]) -> list[Scores]:
        """crops: each (H, W) uint8 grey 0..255 at the bundle's input size. Calibrated probabilities, one a crop."""
        ...

    def close(self) -> None: ...


class TensorModel(Protocol):
    """One model file in one runtime: raw tensors in, raw tensors out. Classifier and TFLite detector build on it, so
    that both can run on the CPU, on the Edge TPU in a child process, or on the ladder between them."""

    input: TensorSpec
    outputs: tuple[TensorSpec, ...]
    backend: str
    """cpu:tflite-runtime, cpu:ai-edge-litert or edgetpu."""

    def invoke(self, tensor: NDArray[np.generic]) -> list[NDArray[np.generic]]:
        """tensor: of ``input``'s shape and dtype. Copies of the outputs, in the order of ``outputs``.
        Raises RuntimeUnavailableError where the runtime crashed or hung."""
        ...

    def close(self) -> None: ...


class EventSink(Protocol):
    """Where results go. Every call returns at once: a sink that must wait does so in its own thread or store."""

    def event(self, event: EmotionEvent) -> None:
        """Never lost, in order: queued while the broker is away."""
        ...

    def state(self, state: State) -> None: ...

    def status(self, status: Status) -> None: ...

    def stats(self, stats: Stats) -> None: ...

    def commands(self) -> Iterable[Command]:
        """Validated commands received since the last call; never blocks."""
        ...

    def close(self) -> None:
        """Send what waits, say ``offline``, within a bounded time. Idempotent."""
        ...
