"""What the Edge TPU compiler maps, operator by operator: each rule answers with a reason and a mend, or with None.

Sources: https://coral.ai/docs/edgetpu/models-intro/ ("Model requirements" and the table of supported operations) and
the operator versions that compiler 16.0 was built with.
"""

import math
import struct
from collections.abc import Callable

from convert.flatbuffer import Operator, Tensor

Complaint = tuple[str, str]
"""(why it does not map, how to mend it)."""

VERSIONS = {
    "CONV_2D": 3, "DEPTHWISE_CONV_2D": 3, "ADD": 2, "MUL": 2, "SUB": 2, "MEAN": 2, "FULLY_CONNECTED": 4, "SOFTMAX": 2,
    "LOGISTIC": 2, "QUANTIZE": 2, "RESHAPE": 1, "PAD": 2, "MAX_POOL_2D": 2, "AVERAGE_POOL_2D": 2, "CONCATENATION": 2,
    "RELU": 2, "RELU6": 2, "TANH": 2, "RESIZE_BILINEAR": 3, "RESIZE_NEAREST_NEIGHBOR": 2, "TRANSPOSE_CONV": 3,
    "REDUCE_MAX": 2, "MAXIMUM": 2, "MINIMUM": 2, "L2_NORMALIZATION": 2, "PRELU": 1, "SQUEEZE": 1, "EXPAND_DIMS": 1,
    "STRIDED_SLICE": 2, "SLICE": 2, "TRANSPOSE": 2,
}  # fmt: skip
"""The highest version of each operator that maps."""

MENDS = {
    "HARD_SWISH": "use ReLU6 instead of hard-swish",
    "LEAKY_RELU": "use ReLU6 instead of leaky ReLU",
    "GELU": "use ReLU6 instead of GELU",
    "ELU": "use ReLU6 instead of ELU",
    "TILE": "upsample with bilinear interpolation or a transposed convolution",
    "DEQUANTIZE": "replace the float layer that follows, or ask the converter for an int8 output",
    "DIV": "multiply by the reciprocal, or replace the layer normalization",
    "RSQRT": "replace the layer normalization by batch normalization",
    "SHAPE": "convert with a fixed batch of one: keras.Input(batch_shape=(1, H, W, C))",
    "PACK": "convert with a fixed batch of one: keras.Input(batch_shape=(1, H, W, C))",
    "BATCH_MATMUL": "use a dense layer with constant weights",
}
VERSION_MENDS = {
    # TFLite writes one version for all operators of a kind.
    "CONV_2D": "a grouped convolution or 4-bit weights raise the version of every convolution in the file",
    "RESIZE_NEAREST_NEIGHBOR": "resize without half-pixel centres, or bilinearly",
    "FULLY_CONNECTED": "use a 1x1 convolution instead of a dense layer on a feature map",
}
OTHER_MEND = "replace its layer by one of convolution, dense, pooling, add, concatenation and ReLU6"
RECIPE_MEND = "convert with python -m convert (int8 operators only, int8 input and output)"
WITH_WEIGHTS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV")
MAX_SOFTMAX_ELEMENTS = 16_000


def first_complaint(op: Operator) -> Complaint | None:
    """Why an operator does not map by itself; None where it does."""
    return next((complaint for rule in RULES if (complaint := rule(op)) is not None), None)


def dynamic(tensor: Tensor) -> bool:
    return any(size < 0 for size in tensor.signature)


def _supported(op: Operator) -> Complaint | None:
    if op.custom:
        return "custom operator", OTHER_MEND
    if op.name not in VERSIONS:
        return "operator not supported", MENDS.get(op.name, OTHER_MEND)
    if op.version > VERSIONS[op.name]:
        return (
            f"version {op.version}, at most {VERSIONS[op.name]} is known",
            VERSION_MENDS.get(op.name, "see which option of the layer asks for the newer version, and leave it out"),
        )
    return None


def _static(op: Operator) -> Complaint | None:
    for tensor in _activations(op):
        if dynamic(tensor):
            return (
                f"dynamic shape {_shape(tensor.signature)}",
                "convert with a fixed batch of one: keras.Input(batch_shape=(1, H, W, C))",
            )
    return None


def _quantized(op: Operator) -> Complaint | None:
    for tensor in (*op.inputs, *op.outputs):
        if tensor is None or (tensor.dtype == "INT32" and tensor.constant is not None):
            continue
        if tensor.dtype not in ("INT8", "UINT8"):
            return f"works on {tensor.dtype}", RECIPE_MEND
        if not tensor.scales:
            return f"{tensor.dtype} without quantization parameters ({tensor.name})", RECIPE_MEND
    return None


def _dimensions(op: Operator) -> Complaint | None:
    for tensor in _activations(op):
        if any(size > 1 for size in tensor.shape[:-3]):
            return (
                f"{_shape(tensor.shape)} has more than three dimensions above 1",
                "use a batch of one, and fold the other dimension into height, width or channels",
            )
    return None


def _weights(op: Operator) -> Complaint | None:
    weights = op.inputs[1] if op.name in WITH_WEIGHTS and len(op.inputs) > 1 else None
    if weights is None:
        return None
    if weights.constant is None:
        return "weights that are not constant", "make them constants; a product of two activations does not map"
    if op.name == "FULLY_CONNECTED" and len(weights.scales) > 1:
        return (
            f"per-channel dense weights ({len(weights.scales)} scales)",
            "convert with python -m convert: per-tensor dense weights "
            "(_experimental_disable_per_channel_quantization_for_dense_layers); it runs elsewhere, garbage there",
        )
    data = op.inputs[0]
    if op.name == "CONV_2D" and data is not None and data.shape[-1:] != weights.shape[-1:]:
        groups = data.shape[-1] // max(1, weights.shape[-1])
        return f"grouped convolution ({groups} groups)", "use a depthwise convolution and a 1x1 convolution"
    return None


def _own_limits(op: Operator) -> Complaint | None:
    """The "known limitations" column of the table."""
    height, width = op.options.get("DilationHFactor", 1), op.options.get("DilationWFactor", 1)
    result = op.outputs[0]
    data = op.inputs[0] if op.inputs else None
    constants = _constant_integers(op.inputs[1]) if len(op.inputs) > 1 else ()
    if op.name == "CONV_2D" and height != width:
        return f"dilation {height}x{width}", "use the same dilation in both directions"
    if op.name == "DEPTHWISE_CONV_2D" and (height, width) != (1, 1):
        return f"dilation {height}x{width}", "use a depthwise convolution without dilation"
    if op.name in ("MAX_POOL_2D", "AVERAGE_POOL_2D", "CONCATENATION") and op.options.get("FusedActivationFunction"):
        return "fused activation", "put the activation before it, or into a convolution"
    if op.name == "MEAN" and data is not None and len(data.shape) == 4 and not {a % 4 for a in constants} <= {1, 2}:
        return f"mean over axes {list(constants)}", "average over height and width only"
    if op.name == "PAD" and len(constants) == 8 and any((*constants[:2], *constants[6:])):
        return "padding of batch or channels", "pad height and width only"
    if op.name in ("SOFTMAX", "FULLY_CONNECTED") and result.elements != result.shape[-1:][0]:
        return f"output {_shape(result.shape)} is not one-dimensional", "flatten it first"
    if op.name == "SOFTMAX" and result.elements > MAX_SOFTMAX_ELEMENTS:
        return f"softmax over {result.elements} elements", f"use at most {MAX_SOFTMAX_ELEMENTS}"
    if op.name == "FULLY_CONNECTED" and op.options.get("WeightsFormat"):
        return "shuffled weights", RECIPE_MEND
    if op.name == "CONCATENATION" and any(t is not None and t.constant and any(t.constant) for t in op.inputs):
        return "concatenation with a constant other than zeros", "add the constant by a convolution's bias"
    if op.name == "STRIDED_SLICE":
        strides = _constant_integers(op.inputs[3]) if len(op.inputs) > 3 else ()
        if any(stride != 1 for stride in strides) or op.options.get("EllipsisMask") or op.options.get("NewAxisMask"):
            return "strides other than 1, an ellipsis or a new axis", "slice without them, or pool"
    return None


RULES: tuple[Callable[[Operator], Complaint | None], ...] = (
    # Weights before versions: a grouped convolution is also of a newer version, and the group is the reason.
    _weights, _supported, _static, _quantized, _dimensions, _own_limits,
)  # fmt: skip


def open_question(op: Operator) -> str | None:
    """What no public source settles about an operator that should map."""
    broadcast = len({tensor.shape for tensor in _activations(op)}) > 1
    if op.name in ("ADD", "MUL", "SUB") and broadcast and len(_activations(op)) == 3:
        return f"{op.name} (op {op.index}) broadcasts one activation over another, as squeeze-and-excite does"
    return None


def _activations(op: Operator) -> list[Tensor]:
    return [tensor for tensor in (*op.inputs, *op.outputs) if tensor is not None and tensor.constant is None]


def _constant_integers(tensor: Tensor | None) -> tuple[int, ...]:
    if tensor is None or tensor.constant is None or tensor.dtype != "INT32":
        return ()
    return struct.unpack(f"<{len(tensor.constant) // 4}i", tensor.constant[: len(tensor.constant) // 4 * 4])


def _shape(sizes: tuple[int, ...]) -> str:
    return "x".join(map(str, sizes)) or "scalar"


def activation_bytes(op: Operator) -> int:
    """What an operator's inputs and outputs occupy while it runs."""
    width = {"INT8": 1, "UINT8": 1, "INT16": 2, "INT64": 8}
    return sum(width.get(tensor.dtype, 4) * math.prod(map(abs, tensor.shape)) for tensor in _activations(op))
