"""The accelerator's child process: loads the Edge TPU's driver, runs the models, answers its parent, may crash.

Started by ``edgetpu.EdgeTpu``; speaks ``wire`` on an inherited socket. It ends when its parent does (the socket
closes), and the kernel ends it where it hangs (SIGALRM), so that none is ever left behind.
"""

import argparse
import contextlib
import dataclasses
import json
import logging
import resource
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from edge.errors import EdgeError, RuntimeUnavailableError
from edge.interfaces import TensorModel
from edge.runtimes import wire
from edge.runtimes.edgetpu_device import pycoral_kind
from edge.runtimes.tflite import TfliteModel, import_runtime

MAX_BYTES = 256_000_000
LOAD_LIMIT_S = 120
INVOKE_LIMIT_S = 60
LIBRARY = "libedgetpu.so.1"

logger = logging.getLogger("edge.runtimes.edgetpu_worker")


def serve(connection: socket.socket, load: Callable[[bytes], TensorModel]) -> int:
    """Load models and answer inputs until the parent closes. Returns the exit code."""
    models: list[TensorModel] = []
    question = wire.Message(wire.MODEL, 0, 0, b"")
    try:
        while True:
            signal.alarm(0)
            question = wire.receive(connection, MAX_BYTES)
            signal.alarm(LOAD_LIMIT_S if question.kind == wire.MODEL else INVOKE_LIMIT_S)
            if question.kind == wire.MODEL:
                models.append(load(question.payload))
                kind, payload = wire.READY, _warm_up(models[-1])
            else:
                model = models[question.model]
                tensor = np.frombuffer(question.payload, dtype=model.input.dtype).reshape(model.input.shape)
                kind, payload = wire.OUTPUT, b"".join(output.tobytes() for output in model.invoke(tensor))
            wire.send(connection, question._replace(kind=kind, payload=payload))
    except (EOFError, ConnectionError):
        return 0
    except EdgeError as error:
        with contextlib.suppress(OSError):
            wire.send(connection, question._replace(kind=wire.FAILED, payload=str(error).encode()))
        return 1


def _warm_up(model: TensorModel) -> bytes:
    """The first inference, which loads firmware and weights: seconds that no frame should wait. JSON of the tensors."""
    model.invoke(np.zeros(model.input.shape, dtype=model.input.dtype))
    specs = {"input": dataclasses.asdict(model.input), "outputs": [dataclasses.asdict(o) for o in model.outputs]}
    return json.dumps(specs).encode()


def load_edgetpu(content: bytes, library: str = LIBRARY) -> TensorModel:
    """The model on the Edge TPU, by Google's pycoral or by the delegate itself.

    Raises RuntimeUnavailableError where the library is missing or finds no device.
    """
    _, runtime = import_runtime()
    try:
        interpreter = _by_pycoral(content)
        if interpreter is None:
            delegate = runtime.load_delegate(library)
            interpreter = runtime.Interpreter(model_content=content, experimental_delegates=[delegate])
    except OSError as error:
        raise RuntimeUnavailableError(
            f"expected {library}, it can't be loaded ({error}); install the Edge TPU runtime (python -m edge doctor)"
        ) from error
    except (ValueError, RuntimeError) as error:
        line = " ".join(str(error).split())
        raise RuntimeUnavailableError(
            f"{library} could not take the Edge TPU ({line}); check plug, power and permission (python -m edge doctor)"
        ) from error
    return TfliteModel(content, interpreter=interpreter, backend="edgetpu")


def _by_pycoral(content: bytes) -> Any:
    """An interpreter of Google's pycoral; None where that is not installed or not made for this Python."""
    if pycoral_kind() != "google":
        return None
    try:
        from pycoral.utils.edgetpu import make_interpreter
    except ImportError as error:
        logger.warning("pycoral can't be imported (%s); using the delegate alone", error)
        return None
    return make_interpreter(content)


def main(argv: Sequence[str], load: Callable[[bytes], TensorModel] | None = None) -> int:
    """The process: ``--fd N`` is the inherited socket."""
    parser = argparse.ArgumentParser(prog="edgetpu_worker")
    parser.add_argument("--fd", type=int, required=True)
    parser.add_argument("--library", default=LIBRARY)
    args = parser.parse_args(argv)
    logging.basicConfig(format="%(name)s: %(message)s")
    # The parent says when to end; a signal to the whole group must not make the accelerator look crashed.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a crash a minute must not fill the SD card
    # tflite's Delegate complains in __del__ when its library is missing; the error itself is reported.
    sys.unraisablehook = lambda _: None
    with socket.socket(fileno=args.fd) as connection:
        return serve(connection, load or (lambda content: load_edgetpu(content, args.library)))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
