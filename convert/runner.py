"""Run a TFLite classifier over pictures with the device's own code, here or in another interpreter.

tflite-runtime needs an older numpy than TensorFlow, so the two can't share an environment: the second runtime is
measured by a child process of the device's interpreter (``python -m convert.runner``), fed with an .npz on standard
input. numpy only.
"""

import io
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge.errors import ConversionError, EdgeError, RuntimeUnavailableError
from edge.runtimes.quantization import grey_table, quantize_grey
from edge.runtimes.tflite import TfliteModel, runtime_name

ROOT = Path(__file__).resolve().parent.parent
CHILD_TIMEOUT_S = 1800.0
"""Far over what a validation split takes (a few milliseconds a picture); a child that hangs is killed."""


def run_model(content: bytes, images: NDArray[np.uint8]) -> tuple[NDArray[np.generic], str]:
    """Every picture through a model, one at a time as on the device.

    content: bytes made here or verified (a damaged file crashes the process). images: (N, H, W) uint8 grey. Returns
    (N, C) in the model's own output type (int8 steps or float32) and the runtime's name and version.
    """
    model = TfliteModel(content)
    if model.input.shape != (1, *images.shape[1:], 1) or len(model.outputs) != 1:
        raise ConversionError(
            f"expected a model from (1, {images.shape[1]}, {images.shape[2]}, 1) to one output, this one goes from "
            f"{model.input.shape} to {len(model.outputs)}; name pictures of its size"
        )
    table = grey_table(model.input)
    outputs = np.empty((len(images), model.outputs[0].shape[-1]), model.outputs[0].dtype)
    for row, image in enumerate(images):
        outputs[row] = model.invoke(quantize_grey(image, table))[0][0]
    return outputs, runtime_name()


def require_interpreter(python: Path) -> None:
    """Raise RuntimeUnavailableError where there is no such executable, before anything long is begun."""
    if shutil.which(python) is None:
        raise RuntimeUnavailableError(
            f"expected a Python interpreter at {python}, found none; make the device's with make .venv-edge/.ready"
        )


def run_model_in(python: Path, content: bytes, images: NDArray[np.uint8]) -> tuple[NDArray[np.generic], str]:
    """``run_model`` in another interpreter. Raises RuntimeUnavailableError where it fails, crashes or hangs."""
    request = io.BytesIO()
    np.savez(request, model=np.frombuffer(content, np.uint8), images=images)
    try:
        child = subprocess.run(
            [str(python.absolute()), "-m", "convert.runner"],
            input=request.getvalue(),
            capture_output=True,
            cwd=ROOT,
            timeout=CHILD_TIMEOUT_S,
            check=False,
        )
    except OSError as error:
        raise RuntimeUnavailableError(f"{python} can't be run ({error.strerror}); name another") from error
    except subprocess.TimeoutExpired as error:
        raise RuntimeUnavailableError(f"{python} gave no answer within {CHILD_TIMEOUT_S:.0f} s; stopped it") from error
    if child.returncode != 0:
        said = child.stderr.decode(errors="replace").strip().splitlines()[-1:] or ["it said nothing"]
        raise RuntimeUnavailableError(
            f"{python} could not run the model (exit {child.returncode}: {said[0][:200]}); "
            "install requirements-edge.txt there"
        )
    with np.load(io.BytesIO(child.stdout), allow_pickle=False) as answer:
        return answer["outputs"], str(answer["runtime"])


def main() -> int:
    """The child: an .npz of ``model`` and ``images`` in, an .npz of ``outputs`` and ``runtime`` out."""
    try:
        with np.load(io.BytesIO(sys.stdin.buffer.read()), allow_pickle=False) as request:
            outputs, runtime = run_model(request["model"].tobytes(), request["images"])
    except EdgeError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    answer = io.BytesIO()
    np.savez(answer, outputs=outputs, runtime=np.array(runtime))
    sys.stdout.buffer.write(answer.getvalue())
    return 0


if __name__ == "__main__":
    sys.exit(main())
