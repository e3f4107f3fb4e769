"""Events as JSON lines: one event a line, and nothing else, so that the output is data another program can read."""

from collections.abc import Iterable
from typing import TextIO

from edge.errors import BrokerError
from edge.payloads import encode, event_payload
from edge.records import Command, EmotionEvent, Identity, State, Stats, Status


class JsonLinesSink:
    """An EventSink on a text stream. A reader that stops reading holds the writer up, as in any pipe."""

    def __init__(self, stream: TextIO, identity: Identity) -> None:
        self._stream = stream
        self._identity = identity
        self._closed = False

    def event(self, event: EmotionEvent) -> None:
        """Write and flush one line. Raises BrokerError, once, when the reader has gone; later events are dropped."""
        if self._closed:
            return
        line = encode(event_payload(event, self._identity)).decode()
        try:
            self._stream.write(line + "\n")
            self._stream.flush()
        except (BrokenPipeError, ValueError) as error:  # ValueError: the stream object is closed
            self._closed = True
            raise BrokerError(
                f"an open standard output was expected, its reader has gone ({error}); "
                "keep the reading program running, or publish with --broker"
            ) from error

    def state(self, state: State) -> None:
        """Not part of the event stream."""

    def status(self, status: Status) -> None:
        """Not part of the event stream; the log has it."""

    def stats(self, stats: Stats) -> None:
        """Not part of the event stream; the log has it."""

    def commands(self) -> Iterable[Command]:
        """None: a stream has no way back."""
        return ()

    def close(self) -> None:
        """The stream is its owner's to close."""
        self._closed = True
