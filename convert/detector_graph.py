"""YuNet's ONNX graph rebuilt as a Keras network, node by node, at any input size.

The published file is a PyTorch export at 640x640 in channels-first order; TFLite and the Edge TPU want channels last.
Only the eight operators that YuNet uses are known, and anything else about the graph is refused: a network that is
nearly YuNet would give boxes that are nearly right.
"""
# ruff: noqa: ARG001 the makers share one signature

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convert.quantize import import_frameworks
from edge.errors import ConversionError

STRIDES = (8, 16, 32)
CHANNELS = {"cls": 1, "obj": 1, "bbox": 4, "kps": 10}
OUTPUTS = tuple(f"{kind}_{stride}" for kind in CHANNELS for stride in STRIDES)
MEND = "name opencv_zoo's face_detection_yunet_2023mar.onnx"

Attributes = dict[str, Any]
Constants = dict[str, NDArray[Any]]


def read_onnx(content: bytes, path: Path) -> Any:
    """The graph in an ONNX file's bytes. Raises ConversionError where they are not one."""
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    try:
        graph = onnx.load_model_from_string(content).graph
    except (DecodeError, ValueError, RuntimeError) as error:
        raise ConversionError(
            f"{path} is not an ONNX file ({len(content)} bytes, not readable as one); {MEND}"
        ) from error
    if not graph.node:
        raise ConversionError(f"{path} is not an ONNX file ({len(content)} bytes, no operators); {MEND}")
    return graph


def rebuild(graph: Any, width: int, height: int) -> Any:
    """The Keras network of YuNet's graph with a static batch of one.

    Input: (1, height, width, 3) BGR 0..255, both multiples of 32. Outputs by name, ``cls_8`` to ``kps_32``: maps of
    (1, height / stride, width / stride, C); cls and obj are probabilities, bbox and kps in strides, see
    edge/detectors/yunet_tflite.py. Raises ConversionError where the graph is not YuNet's.
    """
    import onnx

    _, keras = import_frameworks()
    constants = {tensor.name: np.asarray(onnx.numpy_helper.to_array(tensor)) for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in constants]
    names = {value.name for value in graph.output}
    if len(inputs) != 1 or names != set(OUTPUTS):
        raise _refusal(f"{len(inputs)} inputs and outputs {', '.join(sorted(names))[:120]}")
    picture = keras.Input(batch_shape=(1, height, width, 3), name="input")
    tensors = {inputs[0].name: picture}
    for node in graph.node:
        make = MAKERS.get(node.op_type)
        if make is None:
            raise _refusal(f"an operator {node.op_type}")
        attributes = {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
        try:
            data = [tensors[name] for name in node.input if name and name not in constants]
            fixed = [constants[name] for name in node.input if name in constants]
            tensors[node.output[0]] = make(keras.layers, data, fixed, attributes)
        except (KeyError, IndexError, ValueError, TypeError) as error:
            reason = " ".join(str(error).split())[:120]
            raise _refusal(f"{node.op_type} giving {node.output[:1]} of another form ({reason})") from error
    for name in OUTPUTS:
        kind, _, stride = name.partition("_")
        expected = (1, height // int(stride), width // int(stride), CHANNELS[kind])
        if tensors[name].shape != expected:
            raise _refusal(f"{name} of {tensors[name].shape} instead of {expected}")
    return keras.Model(picture, {name: tensors[name] for name in OUTPUTS})


def _refusal(found: str) -> ConversionError:
    return ConversionError(f"expected YuNet's graph with outputs {OUTPUTS[0]} to {OUTPUTS[-1]}, got {found}; {MEND}")


def _require(attributes: Attributes, **expected: object) -> None:
    for name, value in expected.items():
        if attributes.get(name) != value:
            raise ValueError(f"{name} {attributes.get(name)} instead of {value}")


def _convolution(layers: Any, data: list[Any], fixed: list[NDArray[Any]], attributes: Attributes) -> Any:
    kernel, bias = fixed  # (out, in / groups, h, w), (out,)
    stride, pad = attributes["strides"][0], attributes["pads"][0]
    _require(attributes, strides=[stride] * 2, pads=[pad] * 4, dilations=[1, 1])
    (tensor,) = data
    size = kernel.shape[2]
    same = stride == 1 and 2 * pad + 1 == size
    if pad and not same:
        # "same" with a stride pads right and bottom only, where PyTorch pads all four sides.
        tensor = layers.ZeroPadding2D(pad)(tensor)
    padding = "same" if same else "valid"
    groups, channels = attributes["group"], tensor.shape[-1]
    # One channel in and out is both kinds of convolution; the heads' are depthwise ones for every channel count.
    if groups == channels == kernel.shape[0] and size > 1:
        layer = layers.DepthwiseConv2D(size, stride, padding=padding)
        weights = kernel.transpose(2, 3, 0, 1)
    elif groups == 1:
        layer = layers.Conv2D(kernel.shape[0], size, stride, padding=padding)
        weights = kernel.transpose(2, 3, 1, 0)
    else:
        raise ValueError(f"{groups} groups over {channels} channels")
    result = layer(tensor)
    layer.set_weights([weights, bias])
    return result


def _pool(layers: Any, data: list[Any], fixed: list[NDArray[Any]], attributes: Attributes) -> Any:
    _require(attributes, kernel_shape=[2, 2], strides=[2, 2], pads=[0] * 4, ceil_mode=0)
    return layers.MaxPooling2D(2)(data[0])


def _enlarge(layers: Any, data: list[Any], fixed: list[NDArray[Any]], attributes: Attributes) -> Any:
    _require(attributes, mode=b"nearest", nearest_mode=b"floor", coordinate_transformation_mode=b"asymmetric")
    if fixed[-1].tolist() != [1.0, 1.0, 2.0, 2.0]:
        raise ValueError(f"scales {fixed[-1].tolist()}")
    tensorflow, _ = import_frameworks()
    size = [2 * data[0].shape[1], 2 * data[0].shape[2]]

    class NearestTwice(layers.Layer):
        """Keras's UpSampling2D becomes TILE, and its resize asks for half-pixel centres: neither maps."""

        def call(self, tensor: Any) -> Any:
            return tensorflow.raw_ops.ResizeNearestNeighbor(images=tensor, size=size, half_pixel_centers=False)

        def compute_output_shape(self, shape: Any) -> Any:
            return (shape[0], *size, shape[3])

    return NearestTwice()(data[0])


def _add(layers: Any, data: list[Any], fixed: list[NDArray[Any]], attributes: Attributes) -> Any:
    first, second = data
    return layers.Add()([first, second])


def _relu(layers: Any, data: list[Any], fixed: list[NDArray[Any]], attributes: Attributes) -> Any:
    return layers.ReLU()(data[0])


def _sigmoid(layers: Any, data: list[Any], fixed: list[NDArray[Any]], attributes: Attributes) -> Any:
    return layers.Activation("sigmoid")(data[0])


def _transpose(layers: Any, data: list[Any], fixed: list[NDArray[Any]], attributes: Attributes) -> Any:
    _require(attributes, perm=[0, 2, 3, 1])
    return data[0]  # channels are last already


def _reshape(layers: Any, data: list[Any], fixed: list[NDArray[Any]], attributes: Attributes) -> Any:
    if fixed[0].tolist()[1:] != [-1, data[0].shape[-1]]:
        raise ValueError(f"shape {fixed[0].tolist()}")
    return data[0]  # the map is kept: its shape says the stride, and nothing is copied on the device


MAKERS: dict[str, Callable[[Any, list[Any], list[NDArray[Any]], Attributes], Any]] = {
    "Conv": _convolution,
    "Relu": _relu,
    "MaxPool": _pool,
    "Resize": _enlarge,
    "Add": _add,
    "Sigmoid": _sigmoid,
    "Transpose": _transpose,
    "Reshape": _reshape,
}
