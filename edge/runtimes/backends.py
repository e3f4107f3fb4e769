"""From networks and ``backend = auto | cpu | edgetpu`` to the models that serve."""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from edge.bundle import Bundle
from edge.classifiers.emotion import check_tensors
from edge.runtimes.edgetpu import WORKER, EdgeTpu
from edge.runtimes.edgetpu_device import find_edge_tpus, pycoral_warning
from edge.runtimes.golden import GoldenCase, load_golden
from edge.runtimes.ladder import Ladder, Rung
from edge.runtimes.tflite import TfliteModel
from edge.settings import ClassifierSettings

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Network:
    """What a ladder needs of one network."""

    name: str
    """For messages."""
    cpu: TfliteModel
    compiled: bytes
    """The verified Edge TPU file; empty where there is none."""
    golden: tuple[GoldenCase, ...]
    """With the Edge TPU's tolerance; empty only where ``compiled`` is."""


def emotion_network(bundle: Bundle, settings: ClassifierSettings) -> Network:
    """The bundle's network, its files verified as they are read. Raises BundleError."""
    cpu = TfliteModel(bundle.read("int8"), settings.threads)
    check_tensors(cpu, bundle)
    if settings.backend == "cpu" or "edgetpu" not in bundle.files:
        return Network(f"bundle {bundle.folder}", cpu, b"", ())
    return Network(f"bundle {bundle.folder}", cpu, bundle.read("edgetpu"), load_golden(bundle, "edgetpu"))


def open_networks(
    networks: Sequence[Network],
    settings: ClassifierSettings,
    *,
    find: Callable[[], Sequence[str]] = find_edge_tpus,
    command: Sequence[str] = WORKER,
) -> list[TfliteModel | Rung]:
    """A model for each network: on the CPU, or a rung of the one ladder between Edge TPU and CPU.

    ``auto`` takes an Edge TPU where a network has a file for it and one is plugged in, now or later, and is not
    degraded without one; ``edgetpu`` is. Every result has ``backend`` and ``degraded_reason``.
    find: the Edge TPUs on this machine. command: the child process, see EdgeTpu.
    """
    if settings.backend == "cpu":
        return [network.cpu for network in networks]
    compiled = [network for network in networks if network.compiled]
    rungs: Iterator[Rung] = iter(())
    if compiled:
        if warning := pycoral_warning():
            logger.warning("%s", warning)
        files = [network.compiled for network in compiled]

        def make_accelerator() -> EdgeTpu | None:
            if settings.backend == "auto" and not find():
                return None
            return EdgeTpu(files, deadline_s=settings.deadline_s, start_s=settings.start_s, command=command)

        ladder = Ladder([n.cpu for n in compiled], make_accelerator, [n.golden for n in compiled], settings)
        rungs = iter(ladder.rungs)
    return [next(rungs) if network.compiled else _on_cpu(network, settings) for network in networks]


def open_model(
    bundle: Bundle,
    settings: ClassifierSettings,
    *,
    find: Callable[[], Sequence[str]] = find_edge_tpus,
    command: Sequence[str] = WORKER,
) -> TfliteModel | Rung:
    """The bundle's network alone, see open_networks."""
    (model,) = open_networks([emotion_network(bundle, settings)], settings, find=find, command=command)
    return model


def _on_cpu(network: Network, settings: ClassifierSettings) -> TfliteModel:
    if settings.backend == "edgetpu":
        network.cpu.degraded_reason = (
            f"backend edgetpu is asked for, but {network.name} has no Edge TPU file; compile one (python -m convert "
            "compile) or set backend to cpu"
        )
        logger.warning("%s", network.cpu.degraded_reason)
    return network.cpu
