"""The Edge TPU, run in a child process.

Its USB driver can abort the process when the stick is pulled out, and a library built against another TensorFlow
segfaults; the process that publishes must survive both, and a driver that never returns too.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from edge.errors import BundleError, RuntimeUnavailableError
from edge.records import TensorSpec
from edge.runtimes import wire

WORKER = (sys.executable, "-m", "edge.runtimes.edgetpu_worker")
ROOT = Path(__file__).resolve().parent.parent.parent
MAX_REPLY_BYTES = 64_000_000
REAP_S = 2.0

CRASHES = {
    signal.SIGSEGV: "libedgetpu and the TFLite runtime may be built for different TensorFlow versions",
    signal.SIGABRT: "the stick may have been pulled out or lost power",
}


class EdgeTpuModel:
    """A compiled TFLite file on the Edge TPU, as a TensorModel that is ready some seconds after it is made.

    The constructor starts the child and returns at once. Any failure (a crash, a missed deadline, an answer that is
    none) kills the child and raises RuntimeUnavailableError; make another one to try again.

    model: the verified bytes of the file. deadline_s: for one inference. start_s: for loading driver, firmware and
    model. command: what to run as child, ``--fd N`` is appended.
    """

    backend = "edgetpu"

    def __init__(
        self,
        model: bytes,
        *,
        deadline_s: float = 0.5,
        start_s: float = 30.0,
        command: Sequence[str] = WORKER,
    ) -> None:
        self._model = model
        self._deadline_s = deadline_s
        self._start_by = time.monotonic() + start_s
        self._start_s = start_s
        self._serial = 0
        self._connection, theirs = socket.socketpair()
        path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
        try:
            self._process = subprocess.Popen(
                [*command, "--fd", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=2,  # what a driver prints is log: standard output carries data
                pass_fds=[theirs.fileno()],
                env={**os.environ, "PYTHONPATH": path},
                process_group=0,  # Ctrl-C is for the parent, which ends the child in its turn
            )
        except OSError as error:
            self._connection.close()
            raise RuntimeUnavailableError(f"the Edge TPU's process can't be started ({error}); free memory") from error
        finally:
            theirs.close()

    @property
    def pid(self) -> int:
        return self._process.pid

    def ready(self) -> None:
        """Wait until the child can serve; then ``input`` and ``outputs`` are known. Raises RuntimeUnavailableError."""
        specs = self._ask(wire.MODEL, self._model, wire.READY, self._start_by, f"start within {self._start_s:g} s")
        self._model = b""
        try:
            tensors = json.loads(specs)
            self.input = _spec(tensors["input"])
            self.outputs = tuple(_spec(output) for output in tensors["outputs"])
        except (ValueError, KeyError, TypeError) as error:
            self._fail(f"the Edge TPU's process answered garbage ({error}); it will be started again")

    def invoke(self, tensor: NDArray[np.generic]) -> list[NDArray[np.generic]]:
        """tensor: of ``input``'s shape and dtype. The outputs. Raises RuntimeUnavailableError by the deadline."""
        if tensor.shape != self.input.shape or tensor.dtype != self.input.dtype:
            raise BundleError(
                f"expected an input tensor {self.input.shape} {self.input.dtype}, got {tensor.shape} {tensor.dtype}"
            )
        deadline = time.monotonic() + self._deadline_s
        payload = self._ask(
            wire.INPUT, tensor.tobytes(), wire.OUTPUT, deadline, f"answer within {self._deadline_s:g} s"
        )
        counts = [int(np.prod(spec.shape)) * np.dtype(spec.dtype).itemsize for spec in self.outputs]
        if len(payload) != sum(counts):
            self._fail(f"the Edge TPU answered {len(payload)} bytes, expected {sum(counts)}; it will be started again")
        starts = np.cumsum([0, *counts])
        return [
            np.frombuffer(payload[start : start + count], dtype=spec.dtype).reshape(spec.shape)
            for spec, start, count in zip(self.outputs, starts, counts, strict=False)
        ]

    def close(self) -> None:
        """Kill and reap the child; a wait in another thread ends. Idempotent."""
        self._process.kill()
        with contextlib.suppress(OSError):  # already closed, or the child was first
            self._connection.shutdown(socket.SHUT_RDWR)
        with contextlib.suppress(subprocess.TimeoutExpired):  # stuck in the kernel: Popen reaps it later
            self._process.wait(REAP_S)
        self._connection.close()

    def _ask(self, kind: bytes, payload: bytes, answer: bytes, deadline: float, task: str) -> bytes:
        self._serial += 1
        try:
            wire.send(self._connection, kind, self._serial, payload, deadline)
            came, serial, reply = wire.receive(self._connection, MAX_REPLY_BYTES, deadline)
        except TimeoutError:
            self._fail(f"the Edge TPU did not {task}; check its power and cable (python -m edge doctor)")
        except wire.GarbageError as error:
            self._fail(f"the Edge TPU's process answered garbage ({error}); it will be started again")
        except (EOFError, OSError):
            self._fail(self._obituary())
        if (came, serial) == (wire.FAILED, self._serial):
            self._fail(" ".join(reply.decode(errors="replace").split()))
        if (came, serial) != (answer, self._serial):
            self._fail(f"the Edge TPU's process answered garbage ({came!r} {serial}); it will be started again")
        return reply

    def _fail(self, reason: str) -> NoReturn:
        # Killed but not waited for: this may be the main thread, with a frame in its hands. close() reaps.
        self._process.kill()
        raise RuntimeUnavailableError(reason)

    def _obituary(self) -> str:
        """Why the child's end of the socket closed."""
        try:
            code = self._process.wait(0.2)
        except subprocess.TimeoutExpired:
            return "the Edge TPU's process closed its connection; it will be started again"
        if code >= 0:
            return f"the Edge TPU's process ended with exit code {code}; see the log above it"
        name = signal.Signals(-code).name
        hint = CRASHES.get(signal.Signals(-code), "it will be started again")
        return f"the Edge TPU's process crashed ({name}); {hint} (python -m edge doctor)"


def _spec(values: dict[str, object]) -> TensorSpec:
    spec = TensorSpec(**values)  # type: ignore[arg-type]
    np.dtype(spec.dtype)
    return TensorSpec(tuple(int(size) for size in spec.shape), spec.dtype, float(spec.scale), int(spec.zero_point))
