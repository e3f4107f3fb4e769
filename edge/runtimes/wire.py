"""Messages between the device and its accelerator's child process: a kind, a serial number, a length, so many bytes.

Over a socket pair of their own, so that what a driver prints on standard output is not taken for an answer.

parent: ``M`` model file, ``I`` input tensor. child: ``R`` ready (JSON of the tensors), ``O`` the output tensors, one
after another, ``F`` failed (one line of text). An answer bears the serial number of its question, so that an answer
to an earlier one is never taken for it.
"""

import socket
import struct
import time

HEADER = struct.Struct("!cII")
MODEL, INPUT, READY, OUTPUT, FAILED = b"M", b"I", b"R", b"O", b"F"


class GarbageError(ValueError):
    """What came is no message."""


def send(connection: socket.socket, kind: bytes, serial: int, payload: bytes, deadline: float | None = None) -> None:
    """Send one message, by ``deadline`` (time.monotonic). Raises TimeoutError, OSError where the other end is gone."""
    connection.settimeout(_remaining(deadline))
    connection.sendall(HEADER.pack(kind, serial, len(payload)) + payload)


def receive(connection: socket.socket, limit: int, deadline: float | None = None) -> tuple[bytes, int, bytes]:
    """One message's kind, serial number and payload of at most ``limit`` bytes, by ``deadline`` (time.monotonic).

    Raises TimeoutError, EOFError where the other end is gone, GarbageError.
    """
    kind, serial, length = HEADER.unpack(_exactly(connection, HEADER.size, deadline))
    if kind not in (MODEL, INPUT, READY, OUTPUT, FAILED) or length > limit:
        raise GarbageError(f"kind {kind!r}, {length} bytes")
    return kind, serial, _exactly(connection, length, deadline)


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
