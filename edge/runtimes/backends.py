"""From a bundle and ``backend = auto | cpu | edgetpu`` to the model that serves."""

import logging
from collections.abc import Callable, Sequence

from edge.bundle import Bundle
from edge.classifiers.emotion import check_tensors
from edge.errors import RuntimeUnavailableError
from edge.runtimes.edgetpu import WORKER, EdgeTpuModel
from edge.runtimes.edgetpu_device import find_edge_tpus, pycoral_warning
from edge.runtimes.golden import load_golden
from edge.runtimes.ladder import Ladder
from edge.runtimes.tflite import TfliteModel
from edge.settings import ClassifierSettings

logger = logging.getLogger(__name__)


def open_model(
    bundle: Bundle,
    settings: ClassifierSettings,
    *,
    find: Callable[[], Sequence[str]] = find_edge_tpus,
    command: Sequence[str] = WORKER,
) -> TfliteModel | Ladder:
    """The bundle's network: on the CPU, or on the ladder between Edge TPU and CPU.

    ``auto`` takes an Edge TPU where the bundle has a file for it and one is plugged in, now or later, and is not
    degraded without one; ``edgetpu`` is. Both results have ``backend`` and ``degraded_reason``.
    find: the Edge TPUs on this machine. command: the child process, see EdgeTpuModel.
    """
    cpu = TfliteModel(bundle.read("int8"), settings.threads)
    check_tensors(cpu, bundle)
    compiled = "edgetpu" in bundle.files
    if settings.backend == "cpu" or (settings.backend == "auto" and not compiled):
        return cpu
    warning = pycoral_warning()
    if warning:
        logger.warning("%s", warning)
    content = bundle.read("edgetpu") if compiled else b""

    def make_accelerator() -> EdgeTpuModel | None:
        if not compiled:
            raise RuntimeUnavailableError(
                f"backend edgetpu is asked for, but bundle {bundle.folder} has no Edge TPU file; compile one "
                "(python -m convert compile) or set backend to cpu"
            )
        if settings.backend == "auto" and not find():
            return None
        return EdgeTpuModel(content, deadline_s=settings.deadline_s, start_s=settings.start_s, command=command)

    return Ladder(cpu, make_accelerator, load_golden(bundle, "edgetpu") if compiled else (), settings)
