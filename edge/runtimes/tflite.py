"""TFLite on the CPU, over ai-edge-litert or tflite-runtime, whichever is installed. The API is the same."""

import importlib
import importlib.metadata
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.errors import BundleError, RuntimeUnavailableError
from edge.records import TensorSpec

# The successor first: where both are installed it is the faster one (its XNNPACK runs int8, 2.14's does not).
RUNTIMES = {"ai-edge-litert": "ai_edge_litert.interpreter", "tflite-runtime": "tflite_runtime.interpreter"}


def import_runtime() -> tuple[str, ModuleType]:
    """The installed runtime's package name and interpreter module; RuntimeUnavailableError where there is none."""
    reasons = []
    for package, module in RUNTIMES.items():
        try:
            return package, importlib.import_module(module)
        except (ImportError, AttributeError) as error:  # AttributeError: built for another numpy
            reasons.append(f"{package}: {error}".splitlines()[0])
    raise RuntimeUnavailableError(
        f"expected tflite-runtime or ai-edge-litert, found neither ({'; '.join(reasons)}); "
        "pip install -r requirements-edge.txt"
    )


def runtime_name() -> str:
    """Name and version of the installed runtime, e.g. ``tflite-runtime 2.14.0``."""
    package, _ = import_runtime()
    return f"{package} {importlib.metadata.version(package)}"


class TfliteModel:
    """A TFLite file with one input, as a TensorModel.

    model: the file's bytes (``Bundle.read`` gives verified ones: damaged files crash the process), or its path.
    interpreter: one that was built from these bytes with a delegate; without it, the CPU runs them.
    Raises BundleError for a file that is no TFLite model, RuntimeUnavailableError where the runtime can't run it.
    """

    degraded_reason: str | None = None
    """Why this is not what was asked for, where something else was."""

    def __init__(
        self,
        model: Path | bytes,
        threads: int = 1,
        *,
        interpreter: Any = None,
        backend: str = "",
    ) -> None:
        package, module = import_runtime()
        self.backend = backend or f"cpu:{package}"
        self._content = _read(model) if isinstance(model, Path) else model  # kept: the interpreter reads from it
        try:
            self._interpreter = interpreter or module.Interpreter(model_content=self._content, num_threads=threads)
            self._interpreter.allocate_tensors()
        except ValueError as error:
            raise BundleError(f"not a TFLite model ({_line(error)}); restore the file or convert again") from error
        except RuntimeError as error:
            if "edgetpu-custom-op" in str(error):
                raise RuntimeUnavailableError(
                    "expected a model for the CPU, got one compiled for the Edge TPU (edgetpu-custom-op); use the "
                    "bundle's int8 file, or backend edgetpu"
                ) from error
            raise RuntimeUnavailableError(f"{self.backend} can't run this model ({_line(error)}); update it") from error
        inputs, outputs = self._interpreter.get_input_details(), self._interpreter.get_output_details()
        if len(inputs) != 1:
            raise BundleError(f"expected a model with one input, got {len(inputs)}; convert again")
        self.input = _spec(inputs[0])
        self.outputs = tuple(_spec(details) for details in outputs)
        self._input_index = inputs[0]["index"]
        self._output_indices = [details["index"] for details in outputs]

    def invoke(self, tensor: NDArray[np.generic]) -> list[NDArray[np.generic]]:
        """tensor: of ``input``'s shape and dtype. Copies of the outputs.

        Raises BundleError for another shape or dtype, RuntimeUnavailableError where the runtime failed or is closed.
        """
        if tensor.shape != self.input.shape or tensor.dtype != self.input.dtype:
            raise BundleError(
                f"expected an input tensor {self.input.shape} {self.input.dtype}, got {tensor.shape} {tensor.dtype}"
            )
        if self._interpreter is None:
            raise RuntimeUnavailableError("the model is closed; open it again")
        try:
            self._interpreter.set_tensor(self._input_index, tensor)
            self._interpreter.invoke()
        except (RuntimeError, ValueError) as error:
            raise RuntimeUnavailableError(f"{self.backend} failed ({_line(error)}); restart, or update it") from error
        return [self._interpreter.get_tensor(index) for index in self._output_indices]

    def close(self) -> None:
        """Free the interpreter. Idempotent."""
        self._interpreter = None


def _spec(details: dict[str, Any]) -> TensorSpec:
    scale, zero_point = details["quantization"]
    return TensorSpec(
        shape=tuple(int(size) for size in details["shape"]),
        dtype=np.dtype(details["dtype"]).name,
        scale=float(scale),
        zero_point=int(zero_point),
    )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BundleError(f"expected a TFLite file, got {error.strerror}: {path}; name one that is there") from error


def _line(error: Exception) -> str:
    """The first line of a runtime's message."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
