"""The ladder between accelerator and CPU: every call is answered, by the best rung that works.

The accelerator is brought up, checked on golden inputs, watched and brought up again in a thread of its own; a call
never waits for that. What fails a call is dropped at once, and the same call is answered by the CPU.
"""

import itertools
import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edge.errors import EdgeError, RuntimeUnavailableError
from edge.interfaces import TensorModel
from edge.runtimes.golden import GoldenCase, check_golden
from edge.runtimes.quantization import same_tensor
from edge.settings import ClassifierSettings

logger = logging.getLogger(__name__)

JOIN_S = 5.0


class Accelerator(TensorModel, Protocol):
    """A TensorModel that is ready some time after it is made."""

    def ready(self) -> None:
        """Wait until it can serve; ``close`` from another thread ends the wait. Raises RuntimeUnavailableError."""
        ...


class Ladder:
    """A TensorModel over two others: an accelerator where it works, the CPU where it does not.

    cpu: owned, closed with the ladder. make_accelerator: called in the ladder's thread; None where there is none and
    none is required; raises RuntimeUnavailableError. golden: inputs whose answers decide whether the accelerator is
    believed, all of them before it serves, then one every ``recheck_s``.
    """

    def __init__(
        self,
        cpu: TensorModel,
        make_accelerator: Callable[[], Accelerator | None],
        golden: Sequence[GoldenCase],
        settings: ClassifierSettings,
    ) -> None:
        self.input = cpu.input
        self.outputs = cpu.outputs
        self.backend = cpu.backend
        self.degraded_reason: str | None = None
        """Why the accelerator does not serve; None while it does, before it was first tried, and where none is
        required and none was ever there."""
        self._cpu = cpu
        self._make_accelerator = make_accelerator
        self._golden = tuple(golden)
        self._settings = settings
        self._lock = threading.Lock()
        self._accelerator: Accelerator | None = None  # serving; guarded by the lock
        self._starting: Accelerator | None = None  # being brought up; guarded by the lock
        self._served = False
        self._wake = threading.Event()  # the accelerator was dropped, or the ladder closed
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._tend, name="accelerator", daemon=True)
        self._thread.start()

    @property
    def accelerated(self) -> bool:
        """Whether the next call goes to the accelerator."""
        return self._accelerator is not None

    def invoke(self, tensor: NDArray[np.generic]) -> list[NDArray[np.generic]]:
        """tensor: of ``input``'s shape and dtype. One answer, from the accelerator or, where it fails, the CPU."""
        with self._lock:
            if self._accelerator is not None:
                try:
                    outputs = self._accelerator.invoke(tensor)
                    self.backend = self._accelerator.backend
                    return outputs
                except RuntimeUnavailableError as error:
                    self._drop(str(error))
        self.backend = self._cpu.backend
        return self._cpu.invoke(tensor)

    def close(self) -> None:
        """End accelerator, thread and CPU model, within seconds. Idempotent."""
        self._closed.set()
        with self._lock:
            self._accelerator = None
            starting = self._starting
            self._wake.set()
        if starting is not None:
            starting.close()
        self._thread.join(JOIN_S)
        self._cpu.close()

    def _tend(self) -> None:
        """The thread: bring up, watch, reap, wait, again."""
        wait_s = self._settings.retry_min_s
        while not self._closed.is_set():
            accelerator = self._bring_up()
            if accelerator is not None:
                began = time.monotonic()
                self._watch(accelerator)
                accelerator.close()
                wait_s = wait_after(time.monotonic() - began, wait_s, self._settings)
            self._closed.wait(wait_s)
            wait_s = min(2 * wait_s, self._settings.retry_max_s)

    def _bring_up(self) -> Accelerator | None:
        """An accelerator that answered every golden input right and now serves, or None."""
        reason: str | None
        candidate: Accelerator | None = None
        try:
            candidate = self._make_accelerator()
            with self._lock:
                self._starting = candidate
            # close() sets the flag before it looks at _starting, so one of the two ends the candidate.
            if candidate is not None and not self._closed.is_set():
                candidate.ready()
                reason = self._examine(candidate)
            else:
                gone = "the Edge TPU is gone; plug it in again (python -m edge doctor)"
                reason = gone if self._served or self.degraded_reason else None
        except EdgeError as error:
            reason = str(error)
        with self._lock:
            self._starting = None
            if self._closed.is_set():
                reason = None
            elif candidate is not None and reason is None:
                self._accelerator, self._served, self.degraded_reason = candidate, True, None
                self._wake.clear()
                logger.info("inference moved to %s", candidate.backend)
                return candidate
        if candidate is not None:
            candidate.close()
        if reason is not None:
            self._degrade(reason)
        return None

    def _examine(self, candidate: Accelerator) -> str | None:
        """What speaks against believing the candidate."""
        ours, theirs = (self.input, *self.outputs), (candidate.input, *candidate.outputs)
        if len(ours) != len(theirs) or not all(map(same_tensor, ours, theirs)):
            return "the Edge TPU model's tensors are not those of the int8 model; compile again (python -m convert)"
        return _lie(check_golden(candidate, self._golden))

    def _watch(self, accelerator: Accelerator) -> None:
        """Ask a golden input every ``recheck_s``, until the accelerator is dropped or the ladder closed."""
        cases = itertools.cycle(self._golden)
        while not self._wake.wait(self._settings.recheck_s):
            with self._lock:
                if self._accelerator is not accelerator:
                    return
                try:
                    reason = _lie(check_golden(accelerator, list(itertools.islice(cases, 1))))
                except RuntimeUnavailableError as error:
                    reason = str(error)
                if reason is not None:
                    self._drop(reason)

    def _drop(self, reason: str) -> None:
        """The accelerator serves no more; its thread reaps it. Called with the lock held."""
        self._accelerator = None
        self._degrade(reason)
        self._wake.set()

    def _degrade(self, reason: str) -> None:
        if reason != self.degraded_reason:
            logger.warning("inference on %s: %s", self._cpu.backend, reason)
        self.degraded_reason = reason


def wait_after(served_s: float, wait_s: float, settings: ClassifierSettings) -> float:
    """Seconds until the next attempt with an accelerator that served for ``served_s``.

    Only one that served for long starts the back-off anew: one that keeps crashing disturbs less and less often.
    """
    return settings.retry_min_s if served_s >= settings.retry_max_s else wait_s


def _lie(complaint: str | None) -> str | None:
    return complaint and f"the Edge TPU {complaint}; check its power and cooling (python -m edge doctor)"
