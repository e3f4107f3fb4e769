"""The camera's thread: hands frames to the slot, notices when the camera is no use, and reopens it for ever.

Two threads, because a C call may never return. A *reader* opens one source, reads it and closes it. The *supervisor*
watches the reader from outside: one that gives nothing is retired, its late frames are refused, and another is started.
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Literal

from edge.cameras.picture_watch import PictureWatch
from edge.cameras.source import parse_source
from edge.errors import SourceError
from edge.frame_slot import LatestFrame
from edge.interfaces import FrameSource
from edge.records import Frame
from edge.settings import CameraSettings

log = logging.getLogger(__name__)

Condition = Literal["ok", "stalled", "lost"]

OPEN_S = 30.0
"""An opening that takes longer hangs. Looking up a host's name alone may take 20 s where the name server is away."""
STEADY_S = 10.0
"""A camera that was well for so long is reopened without waiting longer than after its first failure."""
RETURN_S = 12.0
"""How long a retired reader may take to close its source before another tries: V4L2's own bound is 10 s."""
MAX_STUCK = 3
"""Readers that may hang in C calls at once before only a restart of the process can help."""
TICK_S = 0.1
NOT_OPENED = "not opened yet"


class _Reader:
    """One opening of the source, in a daemon thread of its own."""

    def __init__(self, open_source: Callable[[], FrameSource], deliver: Callable[["_Reader", Frame], None]) -> None:
        self.retired = threading.Event()
        self.done = threading.Event()
        self.error: Exception | None = None
        self.live: bool | None = None
        """None until the source is open."""
        self.alive_s = time.monotonic()
        """When it began to open, was open, or gave its latest frame."""
        self.offset: int | None = None
        """Added to its source's frame numbers, so that they go on over reopenings."""
        self._open_source, self._deliver = open_source, deliver
        self.thread = threading.Thread(target=self._run, name="camera-reader", daemon=True)
        self.thread.start()

    def _run(self) -> None:
        try:
            source = self._open_source()
            try:
                self.live, self.alive_s = source.live, time.monotonic()
                while not self.retired.is_set() and (frame := source.read()) is not None:
                    self.alive_s = time.monotonic()
                    self._deliver(self, frame)
            finally:
                source.close()
        except Exception as error:  # handed on to the supervisor, and by it to the main thread
            self.error = error
        finally:
            self.done.set()


class CameraThread:
    """Keeps ``slot`` filled from the source that ``open_source`` opens.

    A live source is reopened for ever with back-off. A file or folder is played once. At its end, as after an error
    that reopening can't mend, the slot is closed and ``finished`` is true; ``exception`` holds the error, if any, for
    the main thread to raise. Frames are numbered on over reopenings.
    """

    def __init__(self, open_source: Callable[[], FrameSource], settings: CameraSettings, slot: LatestFrame) -> None:
        source = parse_source(settings.source)
        self.name = source.name
        self.condition: Condition = "lost"
        self.reason = NOT_OPENED
        """One sentence while the condition is not ok, else empty (or that privacy closed the camera)."""
        self.exception: Exception | None = None
        self.finished = False
        self._live = source.live
        self._open_source, self._settings, self._slot = open_source, settings, slot
        self._watch = PictureWatch(settings.frozen_s)
        self._fault = ""
        self._reader: _Reader | None = None
        self._stuck: list[_Reader] = []
        self._paused = self._stopped = False
        self._next = self._skipped = 0
        self._well_since_s: float | None = None
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._supervise, name="camera", daemon=True)

    @property
    def dropped(self) -> int:
        """Frames the camera produced and the pipeline never saw: replaced in the slot, or skipped by a late player."""
        return self._slot.dropped + self._skipped

    @property
    def device_open(self) -> bool:
        """Whether any reader may still hold the camera: false some moments after ``pause``."""
        with self._changed:
            return any(not reader.done.is_set() for reader in [*self._stuck, *([self._reader] if self._reader else [])])

    def start(self) -> None:
        self._thread.start()

    def pause(self) -> None:
        """Privacy: from now on no frame gets through, and the camera is closed as soon as its read returns. A file is
        closed too, and begins anew."""
        with self._changed:
            self._paused = True
            self._slot.clear()
            self._changed.notify_all()

    def resume(self) -> None:
        """Open the camera again."""
        with self._changed:
            self._paused = False
            self._changed.notify_all()

    def close(self, timeout_s: float = 1.0) -> bool:
        """Stop. Idempotent.

        False where a thread still hangs in a C call after ``timeout_s``. It can't be ended, and should it return while
        the interpreter shuts down it may abort the process: then leave with os._exit.
        """
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        self._slot.close()
        deadline_s = time.monotonic() + timeout_s
        self._join(self._thread, deadline_s)
        with self._changed:
            readers = [*self._stuck, *([self._reader] if self._reader else [])]
        for reader in readers:
            reader.retired.set()
            self._join(reader.thread, deadline_s)
        return not any(thread.is_alive() for thread in [self._thread, *(reader.thread for reader in readers)])

    @staticmethod
    def _join(thread: threading.Thread, deadline_s: float) -> None:
        if thread.is_alive():
            thread.join(max(0.0, deadline_s - time.monotonic()))

    def _supervise(self) -> None:
        try:
            self._keep_open()
        except Exception as error:  # whatever it is, the main thread must hear of it
            self.exception = error
        finally:
            self.finished = True
            self._slot.close()

    def _keep_open(self) -> None:
        delay_s = self._settings.reopen_min_s
        while not self._stopped:
            if self._paused:
                self._set("ok", "closed for privacy")
                self._wait(None, lambda: self._stopped or not self._paused)
                self._set("lost", NOT_OPENED)
                delay_s = self._settings.reopen_min_s
                continue
            self._wait_for_room()
            self._fault, self._well_since_s = "", None
            self._watch.restart()
            with self._changed:
                reader = self._reader = _Reader(self._open_source, self._deliver)
            ended = self._watch_over(reader)
            self._retire(reader)
            if ended:
                return
            if self._well_since_s is not None and time.monotonic() - self._well_since_s >= STEADY_S:
                delay_s = self._settings.reopen_min_s
            self._rest(delay_s, reader)
            delay_s = min(2 * delay_s, self._settings.reopen_max_s)

    def _rest(self, delay_s: float, reader: _Reader) -> None:
        """Back off, and give the old reader time to let go: most devices can be opened only once."""
        self._wait(delay_s, lambda: self._stopped or self._paused)
        self._wait(RETURN_S, lambda: self._stopped or self._paused or reader.done.is_set())

    def _watch_over(self, reader: _Reader) -> bool:
        """Wait until the reader must go. True at the end of a file; raises what reopening can't mend."""
        while not (self._stopped or self._paused):
            if reader.done.wait(TICK_S):
                return self._account(reader)
            silent_s = time.monotonic() - reader.alive_s
            if reader.live is None:
                if self._live and silent_s > OPEN_S:
                    self._fail(reader, "lost", f"{self.name}: opening hangs for {silent_s:.0f} s")
                    return False
            elif reader.live and silent_s > self._settings.stall_s:
                self._fail(reader, "stalled", f"{self.name}: no frame for {silent_s:.0f} s")
                return False
            elif self._fault:
                self._fail(reader, "stalled", f"{self.name}: {self._fault}")
                return False
        return False

    def _account(self, reader: _Reader) -> bool:
        live = self._live if reader.live is None else reader.live
        if reader.error is None:
            if not live:
                return True
            self._fail(reader, "lost", f"{self.name}: the stream ended")
        elif live and isinstance(reader.error, SourceError | TimeoutError):
            self._fail(reader, "stalled" if isinstance(reader.error, TimeoutError) else "lost", str(reader.error))
        else:
            raise reader.error
        return False

    def _fail(self, reader: _Reader, condition: Condition, reason: str) -> None:
        """Retired first, so that a late frame can't say ok again."""
        with self._changed:
            reader.retired.set()
            self._set(condition, reason)

    def _deliver(self, reader: _Reader, frame: Frame) -> None:
        """In the reader's thread: judge, number and hand over a frame, unless this reader has been retired."""
        alive = True
        if reader.live:
            alive = self._watch.feed(frame.image, frame.monotonic_s)
            self._fault = self._watch.fault(frame.monotonic_s)
        while not self._handed_over(reader, frame, alive):
            if not self._slot.wait_empty(TICK_S) and self._slot.closed:
                reader.retired.set()

    def _handed_over(self, reader: _Reader, frame: Frame, alive: bool) -> bool:
        """False where the slot is full and the frame must wait; true also where it is refused."""
        with self._changed:
            if reader.retired.is_set() or self._paused or self._stopped:
                return True
            if not alive and self.condition != "ok":
                return True  # still as black or frozen as before the reopening
            if reader.offset is None:
                reader.offset = self._next - frame.sequence
            number = reader.offset + frame.sequence
            if not self._slot.put(replace(frame, sequence=number)):
                return False
            self._skipped += number - self._next
            self._next = number + 1
            if alive:
                self._well_since_s = self._well_since_s or time.monotonic()
                self._set("ok", "")
            return True

    def _retire(self, reader: _Reader) -> None:
        reader.retired.set()
        with self._changed:
            self._reader = None
            self._stuck = [each for each in [*self._stuck, reader] if not each.done.is_set()]

    def _wait_for_room(self) -> None:
        """Where MAX_STUCK readers hang, wait for one to return; when none does, only a new process can help."""
        with self._changed:
            self._stuck = [each for each in self._stuck if not each.done.is_set()]
            stuck = list(self._stuck)
        if len(stuck) < MAX_STUCK:
            return
        reason = f"{self.name}: {len(stuck)} reads hang in the camera's driver"
        self._set("lost", reason)
        limit_s = self._settings.reopen_max_s
        if not self._wait(limit_s, lambda: self._stopped or any(each.done.is_set() for each in stuck)):
            raise SourceError(f"{reason} for {limit_s:.0f} s; restart this program (systemd does), or the camera")

    def _wait(self, timeout_s: float | None, condition: Callable[[], bool]) -> bool:
        """Wait in ticks, as readers end without notice."""
        deadline_s = float("inf") if timeout_s is None else time.monotonic() + timeout_s
        with self._changed:
            while not condition():
                left_s = deadline_s - time.monotonic()
                if left_s <= 0:
                    return False
                self._changed.wait(min(TICK_S, left_s))
        return True

    def _set(self, condition: Condition, reason: str) -> None:
        with self._changed:
            if (condition, reason) == (self.condition, self.reason):
                return
            self.condition, self.reason = condition, reason
        if condition == "ok":
            log.info("camera ok: %s", reason or self.name)
        elif reason != NOT_OPENED:
            log.warning("camera %s: %s", condition, reason)
