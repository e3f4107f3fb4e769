"""Where int8 loses: the quantization error of each operator, by TensorFlow's QuantizationDebugger.

Each operator is run in float on the int8 model's own (dequantized) inputs, so that an error shows where it arises.
https://www.tensorflow.org/lite/performance/quantization_debugger
"""

import csv
import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convert.quantize import configure_int8, import_frameworks, quiet

IDEAL_ERROR_STEPS = 0.29
"""Rounding alone: 1 / sqrt(12) of a step."""
DEBUG_CROPS = 100


@dataclass(frozen=True, slots=True)
class LayerError:
    operator: str
    name: str
    """The tensor it writes, as TensorFlow named it."""
    error_steps: float
    """Root mean square error in steps of its own scale; IDEAL_ERROR_STEPS is rounding alone."""
    largest_error_steps: float
    scale: float


def layer_errors(fixed: Any, crops: NDArray[np.uint8]) -> list[LayerError]:
    """The errors of a network with a static batch on (N, H, W) uint8 crops, worst first."""
    tf, _ = import_frameworks()
    converter = tf.lite.TFLiteConverter.from_keras_model(fixed)
    configure_int8(converter, crops)
    # The debugger compares float values, so it wants the model's outside float.
    converter.inference_input_type = converter.inference_output_type = tf.float32

    def some_crops() -> Any:
        for crop in crops[:DEBUG_CROPS]:
            yield [crop[None, :, :, None].astype(np.float32)]

    text = io.StringIO()
    with quiet():
        debugger = tf.lite.experimental.QuantizationDebugger(converter=converter, debug_dataset=some_crops)
        debugger.run()
        debugger.layer_statistics_dump(text)
    text.seek(0)
    found = [_layer_error(row) for row in csv.DictReader(text)]
    return sorted(found, key=lambda each: -each.error_steps)


def _layer_error(row: dict[str, str]) -> LayerError:
    scale = float(row["scale"])
    return LayerError(
        operator=row["op_name"],
        name=row["tensor_name"].split(";")[0],
        error_steps=float(row["mean_squared_error"]) ** 0.5 / scale,
        largest_error_steps=float(row["max_abs_error"]) / scale,
        scale=scale,
    )


def report(errors: list[LayerError], count: int = 10) -> str:
    """The worst layers as text."""
    lines = [f"error of each layer in steps of its scale (rounding alone: {IDEAL_ERROR_STEPS}), worst first"]
    lines += [
        f"  {each.error_steps:6.2f}  max {each.largest_error_steps:7.1f}  scale {each.scale:.6f}  "
        f"{each.operator:<18} {each.name}"
        for each in errors[:count]
    ]
    return "\n".join(lines)
