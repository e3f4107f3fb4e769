"""One slot between the camera thread and the main thread: old frames are dropped and counted, latency never grows."""

import threading

from edge.records import Frame


class LatestFrame:
    """Holds at most one frame.

    ``drops=True`` is for cameras: a newer frame replaces an older one. ``drops=False`` is for ``--fast`` playback: the
    writer waits (``wait_empty``) until the reader took the frame, so that every frame is judged.
    """

    def __init__(self, drops: bool = True) -> None:
        self.dropped = 0
        """Frames that were replaced before anyone took them."""
        self._drops = drops
        self._frame: Frame | None = None
        self._closed = False
        self._changed = threading.Condition()

    @property
    def closed(self) -> bool:
        """True once no further frame will come; one may still wait to be taken."""
        with self._changed:
            return self._closed

    def put(self, frame: Frame) -> bool:
        """Hand over a frame; returns at once. False, and nothing kept, where the slot is closed, or full and
        ``drops=False``."""
        with self._changed:
            if self._closed or (self._frame is not None and not self._drops):
                return False
            if self._frame is not None:
                self.dropped += 1
            self._frame = frame
            self._changed.notify_all()
            return True

    def wait_empty(self, timeout_s: float) -> bool:
        """Wait until the frame was taken. False where it was not in time, or the slot is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._frame is None or self._closed, timeout_s)
            return self._frame is None and not self._closed

    def take(self, timeout_s: float) -> Frame | None:
        """The newest frame not yet taken, waiting up to ``timeout_s``; None where none came or the slot is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._frame is not None or self._closed, timeout_s)
            frame, self._frame = self._frame, None
            self._changed.notify_all()
            return frame

    def clear(self) -> None:
        """Forget the waiting frame (privacy); it does not count as dropped."""
        with self._changed:
            self._frame = None
            self._changed.notify_all()

    def close(self) -> None:
        """No further frame will come: wakes both sides. Idempotent."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
