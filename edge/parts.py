"""What app.py composes and the main loop runs: the Protocols of the parts that are not at a hardware edge."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from edge.heat import Board
from edge.interfaces import EventSink
from edge.notify import Notifier
from edge.pipeline import Pipeline
from edge.records import Frame
from edge.switches import SwitchBoard


class Camera(Protocol):
    """Frames from a thread. Closing it is its maker's job."""

    @property
    def condition(self) -> str:
        """ok (also while it is closed on purpose, or has not had the time to open), stalled or lost."""
        ...

    @property
    def reason(self) -> str:
        """One sentence while not ok."""
        ...

    @property
    def dropped(self) -> int:
        """Frames that came faster than they were taken, since the start."""
        ...

    @property
    def ended(self) -> bool:
        """A file or folder is at its end and every frame of it was taken."""
        ...

    @property
    def closed(self) -> bool:
        """Whether all of its threads have ended."""
        ...

    def open(self) -> None:
        """Start, or open again after ``pause``."""
        ...

    def pause(self) -> None:
        """Close the device until ``open``: nobody is looked at."""
        ...

    def take(self, timeout_s: float) -> Frame | None:
        """The newest frame; None where none came in time. Raises what the camera's thread raised."""
        ...


class Backend(Protocol):
    """What runs a network."""

    @property
    def backend(self) -> str: ...

    @property
    def degraded_reason(self) -> str | None: ...


class Delivery(Protocol):
    """What a sink knows of its own state."""

    @property
    def reconnects(self) -> int: ...

    @property
    def outbox(self) -> int: ...

    @property
    def events_discarded(self) -> int: ...

    def health(self) -> str | None:
        """One sentence while events can't be delivered as configured."""
        ...


class Straight:
    """The Delivery of a sink that has neither connection nor outbox."""

    reconnects = outbox = events_discarded = 0

    def health(self) -> str | None:
        return None


@dataclass(frozen=True, slots=True)
class Parts:
    """Everything the main loop owns."""

    camera: Camera
    pipeline: Pipeline
    detector: str
    """Its name."""
    backend: Backend
    """What runs the classifier."""
    sink: EventSink
    switches: SwitchBoard
    face_backend: Backend | None = None
    """What runs the detector's network, where it is a TFLite one."""
    delivery: Delivery = field(default_factory=Straight)
    board: Board = field(default_factory=Board)
    notifier: Notifier = field(default_factory=Notifier)
    fallbacks: Mapping[str, str] = field(default_factory=dict)
    """What was chosen in place of what is preferred: part to sentence."""
    fast: bool = False
    """Frames carry their file's timestamps, not this machine's."""
