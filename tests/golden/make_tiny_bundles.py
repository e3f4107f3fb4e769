"""Makes the two tiny bundles beside this file: real int8 TFLite files of untrained, seeded networks.

    .venv-train/bin/python -m tests.golden.make_tiny_bundles

``tiny7`` has 48x48 input and FER-2013's 7 classes, ``tiny3`` 64x64 and 3 classes. The device's tests need a bundle that
is real in every byte and never changes; what it says of a face does not matter. The recipe is that of ``convert``,
on pictures that are drawn instead of photographed.
"""

import hashlib
import json
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ["CUDA_VISIBLE_DEVICES"] = ""

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from edge.bundle import CARD_SCHEMA, FER_CROPS, load_bundle
from edge.classifiers.emotion import check_tensors
from edge.runtimes.golden import golden_json
from edge.runtimes.quantization import grey_table, quantize_grey
from edge.runtimes.tflite import TfliteModel

HERE = Path(__file__).resolve().parent
FER_LABELS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")


def pictures(side: int, count: int) -> list[NDArray[np.uint8]]:
    """Seeded gradients with a bright and a dark ellipse each: (side, side) uint8, from 0 to 255."""
    random = np.random.default_rng(7)
    rows, columns = np.mgrid[0:side, 0:side] / (side - 1)
    drawn = []
    for _ in range(count):
        slope = random.uniform(-1, 1, 2)
        image = slope[0] * rows + slope[1] * columns
        for sign in (1, -1):
            centre, radius = random.uniform(0.2, 0.8, 2), random.uniform(0.1, 0.3, 2)
            image += sign * ((((rows - centre[0]) / radius[0]) ** 2 + ((columns - centre[1]) / radius[1]) ** 2) < 1)
        image -= image.min()
        drawn.append(np.rint(image / image.max() * 255).astype(np.uint8))
    return drawn


def network(side: int, classes: int) -> keras.Model:
    """A convolution, a depthwise block, a mean and a dense layer: the shipped network's ops, few weights."""
    keras.utils.set_random_seed(7)
    inputs = keras.Input(batch_shape=(1, side, side, 1))
    x = keras.layers.Rescaling(1 / 127.5, offset=-1.0)(inputs)
    x = keras.layers.Conv2D(8, 3, strides=2, padding="same")(x)
    x = keras.layers.ReLU(6.0)(x)
    x = keras.layers.DepthwiseConv2D(3, strides=2, padding="same")(x)
    x = keras.layers.ReLU(6.0)(x)
    x = keras.layers.Conv2D(16, 3, strides=2, padding="same")(x)
    x = keras.layers.ReLU(6.0)(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    # A large dense kernel, so that the untrained answers differ from picture to picture.
    logits = keras.layers.Dense(classes, kernel_initializer=keras.initializers.RandomNormal(stddev=100.0, seed=7))(x)
    return keras.Model(inputs, logits)


def int8_file(model: keras.Model, calibration: list[NDArray[np.uint8]]) -> bytes:
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: (
        [p[np.newaxis, :, :, np.newaxis].astype(np.float32)] for p in calibration
    )
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    converter._experimental_disable_per_channel_quantization_for_dense_layers = True
    return bytes(converter.convert())


def file_entry(path: Path) -> dict[str, object]:
    content = path.read_bytes()
    return {"path": path.name, "sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}


def make_bundle(folder: Path, side: int, labels: tuple[str, ...]) -> None:
    folder.mkdir(exist_ok=True)
    crops = pictures(side, 64)
    (folder / "emotion.int8.tflite").write_bytes(int8_file(network(side, len(labels)), crops))
    model = TfliteModel(folder / "emotion.int8.tflite")
    table = grey_table(model.input)
    answers = [model.invoke(quantize_grey(crop, table))[0].astype(np.int8) for crop in crops]
    # Golden cases whose answers lie far apart, the first and the one farthest from it.
    distances = [int(np.abs(answer.astype(int) - answers[0]).max()) for answer in answers]
    chosen = [0, int(np.argmax(distances))]
    tolerance = {"ai-edge-litert": 1, "tflite-runtime": 12, "edgetpu": 16}
    assert max(distances) > 2 * tolerance["edgetpu"], f"golden answers are only {max(distances)} steps apart"
    (folder / "golden.json").write_text(
        golden_json([crops[i] for i in chosen], [answers[i] for i in chosen], tolerance)
    )
    card = {
        "schema": CARD_SCHEMA,
        "name": folder.name,
        "version": "1",
        "labels": list(labels),
        "input": {
            "shape": list(model.input.shape), "dtype": "int8", "scale": model.input.scale,
            "zero_point": model.input.zero_point, "colour": "grey", "range": [0, 255],
        },
        "output": {
            "shape": list(model.outputs[0].shape), "dtype": "int8", "scale": model.outputs[0].scale,
            "zero_point": model.outputs[0].zero_point, "kind": "logits",
        },
        "temperature": 1.5,
        "crops": {name: {"scale": crop.scale, "of": crop.of} for name, crop in FER_CROPS.items()},
        "files": {
            "int8": file_entry(folder / "emotion.int8.tflite"),
            # Not compiled: the stand-in accelerators of the tests run the same bytes.
            "edgetpu": file_entry(folder / "emotion.int8.tflite"),
            "golden": file_entry(folder / "golden.json"),
        },
        "scores": [],
        "calibration": {"pictures": len(crops), "source": "drawn"},
        "data": {"name": "drawn pictures"},
        "licence": "Apache-2.0",
        "limits": "Untrained: for tests only.",
        "versions": {"tensorflow": tf.__version__, "keras": keras.__version__},
    }  # fmt: skip
    (folder / "card.json").write_text(json.dumps(card, indent=1) + "\n")
    check_tensors(model, load_bundle(folder))
    print(folder.name, model.input, model.outputs, sum(f.stat().st_size for f in folder.iterdir()), "bytes", distances)


if __name__ == "__main__":
    make_bundle(HERE / "tiny7", 48, FER_LABELS)
    make_bundle(HERE / "tiny3", 64, ("angry", "happy", "sad"))
