"""The ladder between accelerator and CPU: every call is answered, by the best rung that works.

The accelerator is brought up, checked on golden inputs, watched and brought up again in a thread of its own; a call
never waits for that. What fails a call is dropped at once, and the same call is answered by the CPU. All models that
share an accelerator share a ladder: they are lost together and come back together.
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
from edge.records import TensorSpec
from edge.runtimes.golden import GoldenCase, complaint
from edge.runtimes.quantization import same_tensor
from edge.settings import ClassifierSettings

logger = logging.getLogger(__name__)

JOIN_S = 5.0


class _Tensors(Protocol):
    @property
    def input(self) -> TensorSpec: ...
    @property
    def outputs(self) -> tuple[TensorSpec, ...]: ...


class Accelerator(Protocol):
    """Runs one model or more, some time after it is made; see edgetpu.EdgeTpu."""

    backend: str

    @property
    def tensors(self) -> Sequence[_Tensors]: ...

    def ready(self) -> None:
        """Wait until it can serve; ``close`` from another thread ends the wait. Raises RuntimeUnavailableError."""
        ...

    def invoke(self, model: int, tensor: NDArray[np.generic]) -> list[NDArray[np.generic]]: ...

    def close(self) -> None: ...


class Rung:
    """A TensorModel: one model of a ladder, on the accelerator where that works, on the CPU where it does not."""

    def __init__(self, ladder: "Ladder", number: int, cpu: TensorModel) -> None:
        self.input = cpu.input
        self.outputs = cpu.outputs
        self.backend = cpu.backend
        self._ladder = ladder
        self._number = number
        self._cpu = cpu

    @property
    def degraded_reason(self) -> str | None:
        """See Ladder.degraded_reason."""
        return self._ladder.degraded_reason

    @property
    def accelerated(self) -> bool:
        """Whether the next call goes to the accelerator."""
        return self._ladder.accelerated

    def invoke(self, tensor: NDArray[np.generic]) -> list[NDArray[np.generic]]:
        """tensor: of ``input``'s shape and dtype. One answer, from the accelerator or, where it fails, the CPU."""
        answer = self._ladder.ask(self._number, tensor)
        if answer is not None:
            self.backend, outputs = answer
            return outputs
        self.backend = self._cpu.backend
        return self._cpu.invoke(tensor)

    def close(self) -> None:
        """End the accelerator, for the ladder's other models too, and the CPU model. Idempotent."""
        self._ladder.close()
        self._cpu.close()


class Ladder:
    """One accelerator, and for each of its models the CPU's to fall back on.

    cpus: owned, each closed with its rung. make_accelerator: called in the ladder's thread; gives one that runs the
    same models in the same order; None where there is none and none is required; raises RuntimeUnavailableError.
    golden: for each model, inputs whose answers decide whether the accelerator is believed: all of them before it
    serves, then one every ``recheck_s``.
    """

    def __init__(
        self,
        cpus: Sequence[TensorModel],
        make_accelerator: Callable[[], Accelerator | None],
        golden: Sequence[Sequence[GoldenCase]],
        settings: ClassifierSettings,
    ) -> None:
        self.rungs = tuple(Rung(self, number, cpu) for number, cpu in enumerate(cpus))
        """One a model."""
        self.degraded_reason: str | None = None
        """Why the accelerator does not serve; None while it does, before it was first tried, and where none is
        required and none was ever there."""
        self._make_accelerator = make_accelerator
        self._golden = [(number, case) for number, cases in enumerate(golden) for case in cases]
        self._settings = settings
        self._lock = threading.Lock()
        self._accelerator: Accelerator | None = None  # serving; guarded by the lock
        self._starting: Accelerator | None = None  # being brought up; guarded by the lock
        self._served = False
        self._wake = threading.Event()  # the accelerator was dropped, or the ladder closed
        self._closed = threading.Event()
        self._fallback = cpus[0].backend
        self._thread = threading.Thread(target=self._tend, name="accelerator", daemon=True)
        self._thread.start()

    @property
    def accelerated(self) -> bool:
        """Whether the accelerator serves."""
        return self._accelerator is not None

    def ask(self, number: int, tensor: NDArray[np.generic]) -> tuple[str, list[NDArray[np.generic]]] | None:
        """The accelerator's name and outputs for model ``number``; None, within its deadline, where it has none."""
        with self._lock:
            if self._accelerator is None:
                return None
            try:
                return self._accelerator.backend, self._accelerator.invoke(number, tensor)
            except RuntimeUnavailableError as error:
                self._drop(str(error))
                return None

    def close(self) -> None:
        """End accelerator and thread, within seconds. Idempotent."""
        self._closed.set()
        with self._lock:
            self._accelerator = None
            starting = self._starting
            self._wake.set()
        if starting is not None:
            starting.close()
        self._thread.join(JOIN_S)

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
        ours = [[rung.input, *rung.outputs] for rung in self.rungs]
        theirs = [[tensors.input, *tensors.outputs] for tensors in candidate.tensors]
        if list(map(len, ours)) != list(map(len, theirs)) or not all(
            map(same_tensor, itertools.chain(*ours), itertools.chain(*theirs))
        ):
            return "the Edge TPU file's tensors are not those of the int8 file; compile again (python -m convert)"
        return next(filter(None, (_lie(candidate, number, case) for number, case in self._golden)), None)

    def _watch(self, accelerator: Accelerator) -> None:
        """Ask a golden input every ``recheck_s``, until the accelerator is dropped or the ladder closed."""
        cases = itertools.cycle(self._golden)
        while not self._wake.wait(self._settings.recheck_s):
            with self._lock:
                if self._accelerator is not accelerator:
                    return
                try:
                    reason = _lie(accelerator, *next(cases))
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
            logger.warning("inference on %s: %s", self._fallback, reason)
        self.degraded_reason = reason


def wait_after(served_s: float, wait_s: float, settings: ClassifierSettings) -> float:
    """Seconds until the next attempt with an accelerator that served for ``served_s``.

    Only one that served for long starts the back-off anew: one that keeps crashing disturbs less and less often.
    """
    return settings.retry_min_s if served_s >= settings.retry_max_s else wait_s


def _lie(accelerator: Accelerator, number: int, case: GoldenCase) -> str | None:
    """What is wrong with the answer to a golden input. Raises RuntimeUnavailableError where there is none."""
    wrong = complaint(case, accelerator.invoke(number, case.tensor))
    return wrong and f"the Edge TPU {wrong}; check its power and cooling (python -m edge doctor)"
