"""Even out the channels of a convolutional network before it is quantized, without changing what it computes.

int8 activations have one scale a tensor, so a channel with a small range keeps few of the 256 steps. Where only linear
or positively homogeneous layers (ReLU, max pooling, nearest resizing, addition) lie between two convolutions, a channel
may be multiplied in the first and divided in the second for nothing (Nagel et al. 2019, "Data-Free Quantization Through
Weight Equalization and Bias Correction", arXiv:1906.04721; here with measured ranges instead of weights').
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convert.quantize import import_frameworks

LARGEST_FACTOR = 64.0
"""A channel that is hardly ever on is not blown up without bound."""
SHARED = 0.5
"""The exponent where a plain convolution follows: its weights have one scale an output channel, so what the
activations gain they lose in part. A depthwise convolution's have one for every channel, and lose nothing."""


HOMOGENEOUS = ("ReLU", "MaxPooling2D", "NearestTwice")
"""Layers f with f(k * x) = k * f(x) for every k > 0, channel by channel."""


@dataclass(slots=True)
class Group:
    """Convolutions whose output channels must be scaled alike, because their tensors meet in an addition."""

    producers: list[Any]
    consumers: list[Any] = field(default_factory=list)
    fixed: bool = False
    """Something that is not homogeneous takes its tensors, or they are outputs."""


def equalize(network: Any, pictures: NDArray[np.uint8]) -> None:
    """Rescale the channels of a Keras network in place. pictures: (N, H, W, C) uint8, of what it will see."""
    groups = [group for group in _groups(network) if group.consumers and not group.fixed]
    ranges = _ranges(network, [layer for group in groups for layer in group.producers], pictures)
    for group in groups:
        top = np.max([ranges[layer.name] for layer in group.producers], axis=0)
        exponent = 1.0 if all(map(_depthwise, group.consumers)) else SHARED
        factor = np.minimum(top.max() / np.maximum(top, 1e-9), LARGEST_FACTOR) ** exponent
        for layer in group.producers:
            kernel, bias = layer.get_weights()  # (h, w, in, out), or depthwise (h, w, channels, 1)
            layer.set_weights([kernel * (factor[:, None] if _depthwise(layer) else factor), bias * factor])
        for layer in group.consumers:
            kernel, bias = layer.get_weights()
            layer.set_weights([kernel / factor[:, None], bias])


def _groups(network: Any) -> list[Group]:
    _, keras = import_frameworks()
    of: dict[str, Group] = {}
    """By the name of the layer that gives the tensor."""
    for layer in network.layers:
        inputs = layer.input if isinstance(layer.input, list) else [layer.input]
        sources = [of[name] for tensor in inputs if (name := tensor._keras_history.operation.name) in of]
        if isinstance(layer, keras.layers.Conv2D | keras.layers.DepthwiseConv2D):
            for source in sources:
                source.consumers.append(layer)
            of[layer.name] = Group([layer])
        elif isinstance(layer, keras.layers.Add) and len(sources) == len(inputs):
            of[layer.name] = _joined(of, sources)
        elif type(layer).__name__ in HOMOGENEOUS and sources:
            of[layer.name] = sources[0]
        else:
            for source in sources:
                source.fixed = True
    for tensor in network.outputs:
        if (name := tensor._keras_history.operation.name) in of:
            of[name].fixed = True
    return list({id(group): group for group in of.values()}.values())


def _joined(of: dict[str, Group], groups: list[Group]) -> Group:
    first, *others = groups
    for other in others:
        if other is not first:
            first.producers += other.producers
            first.consumers += other.consumers
            first.fixed |= other.fixed
            of.update({name: first for name, group in of.items() if group is other})
    return first


def _depthwise(layer: Any) -> bool:
    return type(layer).__name__ == "DepthwiseConv2D"


def _ranges(network: Any, of: list[Any], pictures: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
    """The largest magnitude of each channel of each layer's output."""
    _, keras = import_frameworks()
    probe = keras.Model(network.input, [layer.output for layer in of])
    tops = [np.zeros(layer.output.shape[-1], np.float32) for layer in of]
    for picture in pictures:
        values = probe(picture[np.newaxis].astype(np.float32))
        tops = [np.maximum(top, np.abs(value).max(axis=(0, 1, 2))) for top, value in zip(tops, values, strict=True)]
    return {layer.name: top for layer, top in zip(of, tops, strict=True)}
