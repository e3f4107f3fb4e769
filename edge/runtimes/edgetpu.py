"""The Edge TPU, run in a child process.

Its USB driver can abort the process when the stick is pulled out, and a library built against another TensorFlow
segfaults; the process that publishes must survive both, and a driver that never returns too. One process for all
models: a stick can be opened by one process only.
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
from dataclasses import dataclass
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
AGAIN = "it will be started again"

CRASHES: dict[int, str] = {
    signal.SIGSEGV: "libedgetpu and the TFLite runtime may be built for different TensorFlow versions",
    signal.SIGABRT: "the stick may have been pulled out or lost power",
}


@dataclass(frozen=True, slots=True)
class Tensors:
    """A model's outside."""

    input: TensorSpec
    outputs: tuple[TensorSpec, ...]


class EdgeTpu:
    """Compiled TFLite files on one Edge TPU, ready some seconds after they are given.

    The constructor starts the child and returns at once; ``ready`` waits. Any failure (a crash, a missed deadline, an
    answer that is none) kills the child and raises RuntimeUnavailableError; make another one to try again.

    models: the verified bytes of each file. deadline_s: for one inference. start_s: for loading driver, firmware and
    models. command: what to run as child, ``--fd N`` is appended.
    """

    backend = "edgetpu"

    def __init__(
        self,
        models: Sequence[bytes],
        *,
        deadline_s: float = 0.5,
        start_s: float = 30.0,
        command: Sequence[str] = WORKER,
    ) -> None:
        self.tensors: tuple[Tensors, ...] = ()
        """Of each model, once ``ready`` has returned."""
        self._files = models
        self._deadline_s = deadline_s
        self._start_s = start_s
        self._start_by = time.monotonic() + start_s
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
        """Wait until every model is loaded and warm; ``tensors`` is set. ``close`` in another thread ends the wait."""
        task = f"start within {self._start_s:g} s"
        answers = [
            self._ask(number, wire.MODEL, file, wire.READY, self._start_by, task)
            for number, file in enumerate(self._files)
        ]
        self._files = ()
        try:
            self.tensors = tuple(_tensors(answer) for answer in answers)
        except (ValueError, KeyError, TypeError) as error:
            self._fail(f"the Edge TPU's process answered garbage ({error}); {AGAIN}")

    def invoke(self, model: int, tensor: NDArray[np.generic]) -> list[NDArray[np.generic]]:
        """Run model number ``model``. tensor: of its input's shape and dtype. Its outputs, by the deadline."""
        spec = self.tensors[model].input
        if tensor.shape != spec.shape or tensor.dtype != spec.dtype:
            raise BundleError(f"expected an input tensor {spec.shape} {spec.dtype}, got {tensor.shape} {tensor.dtype}")
        deadline = time.monotonic() + self._deadline_s
        task = f"answer within {self._deadline_s:g} s"
        payload = self._ask(model, wire.INPUT, tensor.tobytes(), wire.OUTPUT, deadline, task)
        outputs = self.tensors[model].outputs
        counts = [int(np.prod(output.shape)) * np.dtype(output.dtype).itemsize for output in outputs]
        if len(payload) != sum(counts):
            self._fail(f"the Edge TPU answered {len(payload)} bytes, expected {sum(counts)}; {AGAIN}")
        starts = np.cumsum([0, *counts])
        return [
            np.frombuffer(payload[start : start + count], dtype=output.dtype).reshape(output.shape)
            for output, start, count in zip(outputs, starts, counts, strict=False)
        ]

    def close(self) -> None:
        """Kill and reap the child; a wait in another thread ends. Idempotent."""
        self._process.kill()
        with contextlib.suppress(OSError):  # already closed, or the child was first
            self._connection.shutdown(socket.SHUT_RDWR)
        with contextlib.suppress(subprocess.TimeoutExpired):  # stuck in the kernel: Popen reaps it later
            self._process.wait(REAP_S)
        self._connection.close()

    def _ask(self, model: int, kind: bytes, payload: bytes, answer: bytes, deadline: float, task: str) -> bytes:
        self._serial += 1
        try:
            wire.send(self._connection, wire.Message(kind, model, self._serial, payload), deadline)
            came = wire.receive(self._connection, MAX_REPLY_BYTES, deadline)
        except TimeoutError:
            self._fail(f"the Edge TPU did not {task}; check its power and cable (python -m edge doctor)")
        except wire.GarbageError as error:
            self._fail(f"the Edge TPU's process answered garbage ({error}); {AGAIN}")
        except (EOFError, OSError):
            self._fail(self._obituary())
        if (came.kind, came.serial) == (wire.FAILED, self._serial):
            self._fail(" ".join(came.payload.decode(errors="replace").split()))
        if came[:3] != (answer, model, self._serial):
            self._fail(f"the Edge TPU's process answered garbage ({came[:3]}); {AGAIN}")
        return came.payload

    def _fail(self, reason: str) -> NoReturn:
        # Killed but not waited for: this may be the main thread, with a frame in its hands. close() reaps.
        self._process.kill()
        raise RuntimeUnavailableError(reason)

    def _obituary(self) -> str:
        """Why the child's end of the socket closed."""
        try:
            code = self._process.wait(0.2)
        except subprocess.TimeoutExpired:
            return f"the Edge TPU's process closed its connection; {AGAIN}"
        if code >= 0:
            return f"the Edge TPU's process ended with exit code {code}; see the log above it"
        name = next((known.name for known in signal.Signals if known == -code), f"signal {-code}")
        return f"the Edge TPU's process crashed ({name}); {CRASHES.get(-code, AGAIN)} (python -m edge doctor)"


def _tensors(answer: bytes) -> Tensors:
    values = json.loads(answer)
    return Tensors(_spec(values["input"]), tuple(_spec(output) for output in values["outputs"]))


def _spec(values: dict[str, object]) -> TensorSpec:
    spec = TensorSpec(**values)  # type: ignore[arg-type]
    np.dtype(spec.dtype)
    return TensorSpec(tuple(int(size) for size in spec.shape), spec.dtype, float(spec.scale), int(spec.zero_point))
