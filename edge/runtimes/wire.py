"""Messages between the device and its accelerator's child process, over a socket pair of their own.

What a driver prints on standard output is thus never taken for an answer. parent: ``M`` a model file, ``I`` a model's
input tensor. child: ``R`` model loaded (JSON of its tensors), ``O`` its output tensors, one after another, ``F`` failed
(one line of text). An answer bears its question's serial number, so that a late one is never taken for the next.
"""

import socket
import struct
import time
from typing import NamedTuple

HEADER = struct.Struct("!cBII")
"""Kind, number of the model, serial number, bytes that follow."""
MODEL, INPUT, READY, OUTPUT, FAILED = b"M", b"I", b"R", b"O", b"F"


class GarbageError(ValueError):
    """What came is no message."""


class Message(NamedTuple):
    kind: bytes
    model: int
    """Counted from 0, in the order of loading."""
    serial: int
    payload: bytes


def send(connection: socket.socket, message: Message, deadline: float | None = None) -> None:
    """Send one message, by ``deadline`` (time.monotonic). Raises TimeoutError, OSError where the other end is gone."""
    connection.settimeout(_remaining(deadline))
    kind, model, serial, payload = message
    connection.sendall(HEADER.pack(kind, model, serial, len(payload)) + payload)


def receive(connection: socket.socket, limit: int, deadline: float | None = None) -> Message:
    """One message of at most ``limit`` bytes, by ``deadline`` (time.monotonic).

    Raises TimeoutError, EOFError where the other end is gone, GarbageError.
    """
    kind, model, serial, length = HEADER.unpack(_exactly(connection, HEADER.size, deadline))
    if kind not in (MODEL, INPUT, READY, OUTPUT, FAILED) or length > limit:
        raise GarbageError(f"kind {kind!r}, {length} bytes")
    return Message(kind, model, serial, _exactly(connection, length, deadline))


def _exactly(connection: socket.socket, count: int, deadline: float | None) -> bytes:
    buffer = bytearray(count)
    view = memoryview(buffer)
    while view:
        connection.settimeout(_remaining(deadline))
        got = connection.recv_into(view)
        if got == 0:
            raise EOFError("the other end closed")
        view = view[got:]
    return bytes(buffer)


def _remaining(deadline: float | None) -> float | None:
    """Seconds until ``deadline``; TimeoutError where it has passed (a timeout of 0 would mean non-blocking)."""
    if deadline is None:
        return None
    seconds = deadline - time.monotonic()
    if seconds <= 0:
        raise TimeoutError("deadline passed")
    return seconds
