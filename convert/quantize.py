"""A trained Keras network to TFLite: float32, and int8 in the one form the Edge TPU compiler accepts.

Each line of the recipe is there because leaving it out gives a file that loads, runs and is silently wrong or does not
compile: see the comments. TensorFlow is imported here and nowhere else outside convert/.
"""

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convert.edgetpu_rules import MENDS, OTHER_MEND
from convert.flatbuffer import parse_tflite
from edge.errors import ConversionError

CALIBRATION_ROWS = 500
MIN_CALIBRATION_ROWS = 100
"""Fewer crops than this leave activation ranges to chance."""


def calibration_rows(labels: NDArray[np.int64], count: int, seed: int) -> NDArray[np.int64]:
    """Indices of ``count`` rows, as evenly over the classes as they allow (rare classes give all they have).

    labels: (N,). The same seed gives the same rows. Raises ConversionError where there are too few.
    """
    if len(labels) < MIN_CALIBRATION_ROWS or count < MIN_CALIBRATION_ROWS:
        raise ConversionError(
            f"expected at least {MIN_CALIBRATION_ROWS} training crops to calibrate with, got "
            f"{min(len(labels), count)}; name more with --data or --calibration-rows"
        )
    shuffled = np.random.default_rng(seed).permutation(len(labels))
    # The k-th crop of every class comes before the (k+1)-th of any.
    rank = np.empty(len(labels), np.int64)
    for label in np.unique(labels):
        of_class = shuffled[labels[shuffled] == label]
        rank[of_class] = np.arange(len(of_class))
    order = shuffled[np.argsort(rank[shuffled], kind="stable")]
    return np.sort(order[:count])


def with_full_range(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The crops and one more: the first with a black and a white corner pixel.

    The input's scale comes from the smallest and largest grey seen. With 0 and 255 among them it is exactly 1.0 with
    zero point -128, so the device's raw grey maps without rounding; one corner pixel moves no inner range.
    """
    extremes = images[:1].copy()
    extremes[0, 0, 0], extremes[0, -1, -1] = 0, 255
    return np.concatenate([images, extremes])


def import_frameworks() -> tuple[ModuleType, ModuleType]:
    """tensorflow and keras, without their start-up lines. The backend was set before (convert/__main__.py)."""
    with quiet():
        import keras
        import tensorflow
    return tensorflow, keras


def fixed_batch(model: Any, size: int) -> Any:
    """The network with a static batch of one. A dynamic batch is refused by the compiler, and adds shape arithmetic."""
    _, keras = import_frameworks()
    inputs = keras.Input(batch_shape=(1, size, size, 1))
    return keras.Model(inputs, model(inputs, training=False))


def to_float(fixed: Any) -> bytes:
    """float32 TFLite of a network with a static batch."""
    tf, _ = import_frameworks()
    return _convert(tf.lite.TFLiteConverter.from_keras_model(fixed))


def to_int8(fixed: Any, images: NDArray[np.uint8]) -> bytes:
    """Full-integer TFLite of a network with a static batch: int8 in, int8 out, nothing float between.

    images: (N, H, W) grey or (N, H, W, C) uint8 pictures to calibrate with. Raises ConversionError where anything float
    is left.
    """
    tf, _ = import_frameworks()
    converter = tf.lite.TFLiteConverter.from_keras_model(fixed)
    configure_int8(converter, images)
    content = _convert(converter)
    _require_int8(content)
    return content


def configure_int8(converter: Any, images: NDArray[np.uint8]) -> None:
    """Set a TFLiteConverter up for the int8 recipe. images: (N, H, W) grey or (N, H, W, C) uint8."""
    tf, _ = import_frameworks()

    def crops() -> Iterator[list[NDArray[np.float32]]]:
        for image in images:
            yield [image.reshape(1, *image.shape[:2], -1).astype(np.float32)]

    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = crops
    # Without it, an operator that can't be quantized stays float and is wrapped in DEQUANTIZE and QUANTIZE.
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    # Per-channel dense weights keep operator version 4, and kernels of the Edge TPU compiler's generation read them as
    # per-tensor: the file works here and is garbage there.
    converter._experimental_disable_per_channel_quantization_for_dense_layers = True


def _convert(converter: Any) -> bytes:
    with quiet():
        try:
            return with_short_names(bytes(converter.convert()))
        # Whatever the converter raises (it has no class of its own) says which operator it could not convert.
        except Exception as error:
            reason = " ".join(str(error).split())[:300]
            raise ConversionError(
                f"TensorFlow's converter refused the network: {reason}; build it of plain convolutions, dense layers "
                "and ReLU6"
            ) from error


def with_short_names(content: bytes) -> bytes:
    """The same model with tensor names cut to layer and operation (``conv2d_3_1/convolution``).

    TensorFlow joins the full paths of all layers it fused into one operator: 2 % of the shipped file.
    """
    import_frameworks()
    from tensorflow.lite.tools import flatbuffer_utils  # what the converter itself reads and writes models with

    model = flatbuffer_utils.convert_bytearray_to_object(content)
    for graph in model.subgraphs:
        for tensor in graph.tensors:
            tensor.name = b"/".join((tensor.name or b"").split(b";")[0].split(b"/")[-2:])
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def _require_int8(content: bytes) -> None:
    for op in parse_tflite(content, "the converted model")[0].operators:
        tensors = [tensor for tensor in (*op.inputs, *op.outputs) if tensor is not None]
        if op.name not in ("QUANTIZE", "DEQUANTIZE") and any(t.dtype not in ("INT8", "INT32") for t in tensors):
            raise ConversionError(
                f"expected every operator in int8, {op.name} ({op.outputs[0].name.split(';')[0]}) stays "
                f"{op.outputs[0].dtype}; {MENDS.get(op.name, OTHER_MEND)}"
            )


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep TensorFlow's chatter (prints in Python, C++ straight to the descriptors) in a file that is dropped."""
    sys.stdout.flush()
    sys.stderr.flush()
    saved = os.dup(1), os.dup(2)
    with tempfile.TemporaryFile("w") as file, contextlib.redirect_stdout(file), contextlib.redirect_stderr(file):
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        try:
            yield
        finally:
            for descriptor, copy in zip((1, 2), saved, strict=True):
                os.dup2(copy, descriptor)
                os.close(copy)
