"""One way to run a network over many pictures, whether it is a Keras file or the TFLite file that ships.

The TFLite file goes through the device's own interpreter adapter and quantization, so that what is scored here is
what runs there.
"""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge.bundle import Bundle, load_bundle
from edge.calibration import Calibration
from edge.errors import BundleError, DataError, RunError
from edge.runtimes.quantization import dequantize, grey_table, quantize_grey
from edge.runtimes.tflite import TfliteModel

PROBE_S = 60.0
"""How long the child process that tries out a TFLite file without a card may take."""

LEAST_PROBABILITY = 1 / 512
"""Half an int8 step of a softmax output: what a probability of 0 is taken for, so that its logarithm is finite."""

Progress = Callable[[int], None]
"""Called with the number of pictures done so far."""


@dataclass(frozen=True)
class Network:
    """An opened model file: what goes in, what comes out, and the pass itself."""

    path: Path
    height: int
    width: int
    classes: int
    """Length of the output."""
    forward: Callable[[NDArray[np.uint8], Progress], NDArray[np.float32]]
    """(N, height, width) uint8 grey to (N, classes) float32 as the file gives them."""
    calibration: Calibration | None = None
    """The card's, where the file came with one."""
    labels: tuple[str, ...] | None = None
    """The card's, where the file came with one."""


def predict_logits(
    model_path: Path, images: NDArray[np.uint8], *, flip: bool = False, progress: Progress | None = None
) -> NDArray[np.float32]:
    """Logits of a ``.keras`` file, a ``.tflite`` file (int8, uint8 or float) or a bundle folder (its int8 file).

    images: (N, H, W) uint8 grey 0..255 of the network's size. flip: mirror them left to right first. Returns
    (N, C) float32; the logarithm where the file gives probabilities. Raises RunError or BundleError for a file that
    can't be used, DataError for pictures of another size.
    """
    return logits_of(open_network(model_path), images, flip=flip, progress=progress)


def logits_of(
    network: Network, images: NDArray[np.uint8], *, flip: bool = False, progress: Progress | None = None
) -> NDArray[np.float32]:
    """As predict_logits, for a network that is already open."""
    if images.ndim != 3 or images.dtype != np.uint8 or images.shape[1:] != (network.height, network.width):
        raise DataError(
            f"expected uint8 pictures (N, {network.height}, {network.width}) for {network.path}, got "
            f"{images.dtype} {images.shape}; load the data with size {network.height}"
        )
    if not len(images):
        return np.zeros((0, network.classes), dtype=np.float32)
    outputs = network.forward(images[:, :, ::-1] if flip else images, progress or _silent)
    return as_logits(outputs)


def as_logits(outputs: NDArray[np.float32]) -> NDArray[np.float32]:
    """(N, C) outputs as logits: where every row is a distribution (0..1, sum 1) they are probabilities, so their
    logarithm is taken; softmax brings it back. An int8 row of probabilities may sum to 1 +- C/512."""
    distributions = outputs.min() >= 0 and np.abs(outputs.sum(axis=1) - 1).max() <= outputs.shape[1] / 512 + 1e-3
    return np.log(np.maximum(outputs, LEAST_PROBABILITY)) if distributions else outputs


def open_network(path: Path) -> Network:
    """Open a ``.keras`` or ``.tflite`` file, or a bundle folder's int8 file, by what ``path`` is."""
    if path.is_dir():
        return open_bundle_file(load_bundle(path), "int8")
    if not path.is_file():
        raise RunError(f"expected a .keras or .tflite file or a bundle folder, found nothing at {path}; name another")
    if path.suffix == ".keras":
        return _open_keras(path)
    if path.suffix == ".tflite":
        if (path.parent / "card.json").is_file():
            bundle = load_bundle(path.parent)
            for key, file in bundle.files.items():
                if file.path == path.name:
                    return open_bundle_file(bundle, key)
        _probe(path)
        return _open_tflite(path, path)
    raise RunError(f"expected a .keras or .tflite file or a bundle folder, got {path}; convert it or name another")


def open_bundle_file(bundle: Bundle, key: str) -> Network:
    """Open file ``key`` (int8, float, keras) of a verified bundle, with the card's labels and calibration."""
    path = bundle.path(key)
    if key == "edgetpu":
        raise BundleError(f"{path} runs on an Edge TPU only; evaluate the int8 file it was compiled from")
    opened = _open_keras(path) if path.suffix == ".keras" else _open_tflite(path, bundle.read(key))
    if opened.classes != len(bundle.labels):
        raise BundleError(
            f"{path} has {opened.classes} outputs, its card {len(bundle.labels)} labels; convert the run again"
        )
    return Network(**{**vars(opened), "calibration": bundle.calibration, "labels": bundle.labels})


def _silent(done: int) -> None:
    del done


def _open_keras(path: Path, batch: int = 256) -> Network:
    import keras  # a second or more to import: not for those who only run a TFLite file

    try:
        model = keras.saving.load_model(path, compile=False)
    except (OSError, ValueError, TypeError, KeyError) as error:
        reason = " ".join(str(error).split())[:200]
        raise RunError(f"{path} is no Keras 3 model that can be loaded ({reason}); train it again") from error
    taken, given = model.input_shape, model.output_shape
    if len(taken) != 4 or taken[3] != 1 or None in taken[1:] or len(given) != 2:
        raise RunError(
            f"expected a network (N, H, W, 1) -> (N, C), {path} is {taken} -> {given}; evaluate another file"
        )

    def forward(images: NDArray[np.uint8], progress: Progress) -> NDArray[np.float32]:
        outputs = []
        for start in range(0, len(images), batch):
            # predict_on_batch compiles once for each shape, so the last short batch is filled up with zeros.
            part = np.zeros((batch, *images.shape[1:], 1), dtype=np.float32)
            count = min(batch, len(images) - start)
            part[:count, :, :, 0] = images[start : start + count]
            outputs.append(np.asarray(model.predict_on_batch(part), dtype=np.float32)[:count])
            progress(start + count)
        return np.concatenate(outputs)

    return Network(path, taken[1], taken[2], given[1], forward)


def _open_tflite(path: Path, content: Path | bytes) -> Network:
    model = TfliteModel(content)
    taken, given = model.input, model.outputs[0]
    if len(taken.shape) != 4 or taken.shape[0] != 1 or taken.shape[3] != 1 or len(given.shape) != 2:
        raise BundleError(
            f"expected a network (1, H, W, 1) -> (1, C), {path} is {taken.shape} -> {given.shape}; name another file"
        )

    def forward(images: NDArray[np.uint8], progress: Progress) -> NDArray[np.float32]:
        table = grey_table(taken)
        outputs = np.zeros((len(images), given.shape[1]), dtype=np.float32)
        for row, picture in enumerate(images):
            outputs[row] = dequantize(model.invoke(quantize_grey(picture, table))[0][0], given)
            if row % 64 == 63 or row + 1 == len(images):
                progress(row + 1)
        return outputs

    return Network(path, taken.shape[1], taken.shape[2], given.shape[1], forward)


def _probe(path: Path) -> None:
    """Run a TFLite file without a card once in a child process, because a damaged one kills the process it is in."""
    program = (
        "import sys; from pathlib import Path; import numpy as np; from edge.runtimes.tflite import TfliteModel\n"
        "model = TfliteModel(Path(sys.argv[1]))\n"
        "model.invoke(np.zeros(model.input.shape, dtype=model.input.dtype))\n"
    )
    root = Path(__file__).resolve().parent.parent
    command = [sys.executable, "-c", program, str(path.resolve())]
    try:
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=PROBE_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise BundleError(f"{path} gave no answer in {PROBE_S:.0f} s; convert it again") from error
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1][:200]
        how = f"killed its process with signal {-done.returncode}" if done.returncode < 0 else f"failed: {last}"
        raise BundleError(f"{path} is damaged or no model TFLite can run ({how}); convert it again")
