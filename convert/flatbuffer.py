"""Read a TFLite file without running it: plain records of its tensors and operators.

A damaged file crashes the interpreter that loads it, so everything that can be known beforehand is read here. The
format is TensorFlow's ``schema.fbs``; the accessors come with ai-edge-litert.
"""

import math
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edge.errors import ConversionError

MAX_ITEMS = 100_000
"""More tensors or operators than any real model has: a flipped bit in a count, not worth walking through."""

# Enumerations of the schema, turned around: number -> name.
_OPERATORS = {value: name for name, value in vars(schema.BuiltinOperator).items() if not name.startswith("_")}
_TYPES = {value: name for name, value in vars(schema.TensorType).items() if not name.startswith("_")}
_OPTIONS = {value: name for name, value in vars(schema.BuiltinOptions).items() if not name.startswith("_")}
_OPTION_NAMES = (
    "FusedActivationFunction", "DilationHFactor", "DilationWFactor", "WeightsFormat", "AlignCorners",
    "HalfPixelCenters", "EllipsisMask", "NewAxisMask", "Axis",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Tensor:
    index: int
    name: str
    shape: tuple[int, ...]
    signature: tuple[int, ...]
    """``shape`` with -1 where a dimension is dynamic."""
    dtype: str
    """TFLite's name: INT8, UINT8, INT32, FLOAT32, ..."""
    scales: tuple[float, ...]
    """One, or one a channel; empty where the tensor is not quantized."""
    zero_points: tuple[int, ...]
    constant: bytes | None
    """The stored bytes of a weight or parameter; None for an activation."""

    @property
    def elements(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True)
class Operator:
    index: int
    name: str
    """TFLite's name (CONV_2D), or the name of a custom operator."""
    version: int
    custom: bool
    inputs: tuple[Tensor | None, ...]
    """None where an optional input (a bias) is left out."""
    outputs: tuple[Tensor, ...]
    options: dict[str, int] = field(default_factory=dict)
    """Those of ``_OPTION_NAMES`` that the operator has."""


@dataclass(frozen=True, slots=True)
class Graph:
    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    """In execution order."""
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


def read_tflite(path: Path) -> list[Graph]:
    """The subgraphs of a file. Raises ConversionError where it can't be read or is no TFLite file."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConversionError(f"{path} can't be read ({error.strerror}); name a .tflite file") from error
    return parse_tflite(content, str(path))


def parse_tflite(content: bytes, name: str = "model") -> list[Graph]:
    """The subgraphs of a model's bytes. Raises ConversionError, whatever the bytes are."""
    if content[4:8] != b"TFL3":
        raise ConversionError(
            f"expected a TFLite file, {name} has no TFL3 mark ({len(content)} bytes); name a .tflite file"
        )
    try:
        model = schema.Model.GetRootAs(content, 0)
        count = _bounded(model.SubgraphsLength())
        graphs = [_graph(model, model.Subgraphs(index)) for index in range(count)]
    # Whatever a wild offset makes the accessors do; they read only, from bytes, so nothing worse can happen.
    except (struct.error, IndexError, KeyError, ValueError, TypeError, AttributeError, OverflowError) as error:
        raise ConversionError(
            f"{name} is damaged: not readable as TFLite ({error}); convert or copy it again"
        ) from error
    if not graphs or not graphs[0].operators or not graphs[0].inputs or not graphs[0].outputs:
        raise ConversionError(f"{name} is damaged: it has no operator, input or output; convert or copy it again")
    return graphs


def _bounded(count: int) -> int:
    if not 0 <= count <= MAX_ITEMS:
        raise ValueError(f"{count} items")
    return count


def _integers(values: Any) -> tuple[int, ...]:
    """A vector accessor's answer; it gives 0, not an empty array, where the vector is absent."""
    return tuple(int(value) for value in values) if isinstance(values, np.ndarray) else ()


def _graph(model: Any, graph: Any) -> Graph:
    tensors = tuple(_tensor(model, graph.Tensors(i), i) for i in range(_bounded(graph.TensorsLength())))
    operators = tuple(
        _operator(model, graph.Operators(i), i, tensors) for i in range(_bounded(graph.OperatorsLength()))
    )
    inputs, outputs = _integers(graph.InputsAsNumpy()), _integers(graph.OutputsAsNumpy())
    return Graph(tensors, operators, tuple(_at(tensors, i) for i in inputs), tuple(_at(tensors, i) for i in outputs))


def _at(tensors: tuple[Tensor, ...], index: int) -> Tensor:
    if index < 0:
        raise ValueError(f"tensor {index}")
    return tensors[index]


def _tensor(model: Any, tensor: Any, index: int) -> Tensor:
    quantization = tensor.Quantization()
    scales = quantization.ScaleAsNumpy() if quantization else 0
    shape = _integers(tensor.ShapeAsNumpy())
    buffer = model.Buffers(tensor.Buffer()) if 0 < tensor.Buffer() < model.BuffersLength() else None
    data = buffer.DataAsNumpy() if buffer else 0
    return Tensor(
        index=index,
        name=(tensor.Name() or b"").decode(errors="replace"),
        shape=shape,
        signature=_integers(tensor.ShapeSignatureAsNumpy()) or shape,
        dtype=_TYPES[tensor.Type()],
        scales=tuple(float(scale) for scale in scales) if isinstance(scales, np.ndarray) else (),
        zero_points=_integers(quantization.ZeroPointAsNumpy()) if quantization else (),
        constant=data.tobytes() if isinstance(data, np.ndarray) else None,
    )


def _operator(model: Any, operator: Any, index: int, tensors: tuple[Tensor, ...]) -> Operator:
    code = model.OperatorCodes(operator.OpcodeIndex())
    # The one-byte field came first; codes over 127 live in the newer one.
    number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
    custom = _OPERATORS[number] == "CUSTOM"
    return Operator(
        index=index,
        name=(code.CustomCode() or b"").decode(errors="replace") if custom else _OPERATORS[number],
        version=code.Version(),
        custom=custom,
        inputs=tuple(None if i == -1 else _at(tensors, i) for i in _integers(operator.InputsAsNumpy())),
        outputs=tuple(_at(tensors, i) for i in _integers(operator.OutputsAsNumpy())),
        options=_options(operator),
    )


def _options(operator: Any) -> dict[str, int]:
    kind = _OPTIONS[operator.BuiltinOptionsType()]
    table = operator.BuiltinOptions()
    if kind == "NONE" or table is None:
        return {}
    options = getattr(schema, kind)()
    options.Init(table.Bytes, table.Pos)
    return {name: int(getattr(options, name)()) for name in _OPTION_NAMES if hasattr(options, name)}


def macs(operator: Operator) -> int:
    """Multiply-accumulates of one inference, 0 for operators without weights.

    A convolution does (filter height * width * input channels of a group) for each output value.
    """
    weights = operator.inputs[1] if len(operator.inputs) > 1 else None
    if weights is None or not operator.outputs:
        return 0
    if operator.name == "CONV_2D" and len(weights.shape) == 4:
        return operator.outputs[0].elements * math.prod(weights.shape[1:])
    if operator.name == "DEPTHWISE_CONV_2D" and len(weights.shape) == 4:
        return operator.outputs[0].elements * weights.shape[1] * weights.shape[2]
    if operator.name == "FULLY_CONNECTED" and len(weights.shape) == 2:
        return operator.outputs[0].elements * weights.shape[1]
    if operator.name == "TRANSPOSE_CONV" and len(weights.shape) == 4 and len(operator.inputs) > 2:
        data = operator.inputs[2]
        return data.elements * weights.shape[0] * weights.shape[1] * weights.shape[2] if data else 0
    return 0
