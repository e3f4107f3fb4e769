"""A child process in the accelerator's place: the device's own worker loop around a model that misbehaves on demand.

    python -m tests.edge.runtimes.standin_worker --behaviour FILE --fd N

FILE holds ``good``, or a fault and the inference from which it happens (0: the warm-up while loading), e.g.
``crash 5``. It is read when the child starts, so that a test decides how the next life goes. Each life appends a line
to FILE.lives.
"""

import ctypes
import os
import signal
import socket
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge.errors import RuntimeUnavailableError
from edge.runtimes import edgetpu_worker, wire
from edge.runtimes.tflite import TfliteModel


class Misbehaving(TfliteModel):
    """The int8 file on this process's CPU, until the fault's turn comes."""

    def __init__(self, content: bytes, connection: socket.socket, fault: str, turn: int) -> None:
        super().__init__(content)
        self.connection = connection
        self.fault = fault
        self.turn = turn
        self.count = 0

    def invoke(self, tensor: NDArray[np.generic]) -> list[NDArray[np.generic]]:
        outputs = super().invoke(tensor)
        now, self.count = self.count, self.count + 1
        if now < self.turn:
            return outputs
        match self.fault:
            case "segv":
                ctypes.string_at(0)
            case "abort":
                os.abort()
            case "exit":
                sys.exit(3)
            case "hang":
                while True:
                    signal.pause()
            case "freeze":
                os.kill(os.getpid(), signal.SIGSTOP)
            case "fail":
                raise RuntimeUnavailableError("USB transfer error 2 [LibUsbDataOut]")
            case "lie":
                return [np.full_like(output, 127) for output in outputs]
            case "short":
                return [output[:, 1:] for output in outputs]
            case "noise":
                self.connection.sendall(b"\xff" * 400)
            case "stale":  # the answer to the question before
                wire.send(self.connection, wire.Message(wire.OUTPUT, 0, now - 1, outputs[0].tobytes()))
            case "print":
                print("a driver's chatter " * 20, flush=True)
        return outputs


def main() -> int:
    behaviour = Path(sys.argv[sys.argv.index("--behaviour") + 1])
    fd = int(sys.argv[sys.argv.index("--fd") + 1])
    fault, _, turn = behaviour.read_text().strip().partition(" ")
    with Path(f"{behaviour}.lives").open("a") as lives:
        lives.write(f"{os.getpid()}\n")
    connection = socket.socket(fileno=os.dup(fd))
    return edgetpu_worker.main(
        ["--fd", str(fd)], load=lambda content: Misbehaving(content, connection, fault, int(turn or 0))
    )


if __name__ == "__main__":
    sys.exit(main())
