"""Building blocks whose every operation the Edge TPU maps: ReLU6, no hard-swish, no grouped convolution."""

from typing import Any, TypeAlias

import keras
from keras import layers

Tensor: TypeAlias = Any
"""A symbolic keras.KerasTensor (N, H, W, C), which keras does not type."""


def scaled_input(size: int) -> tuple[Tensor, Tensor]:
    """The input (N, size, size, 1) of raw grey 0..255, and the same scaled to -1..1."""
    inputs = keras.Input((size, size, 1), name="grey")
    return inputs, layers.Rescaling(1 / 127.5, offset=-1.0, name="scale")(inputs)


def conv_bn(x: Tensor, filters: int, kernel: int = 3, strides: int = 1, *, activate: bool = True) -> Tensor:
    """Convolution without bias, batch norm, ReLU6."""
    x = layers.Conv2D(filters, kernel, strides, padding="same", use_bias=False, kernel_initializer="he_normal")(x)
    x = layers.BatchNormalization(momentum=0.98)(x)
    return layers.ReLU(6.0)(x) if activate else x


def depthwise_bn(x: Tensor, strides: int = 1) -> Tensor:
    """Depthwise 3x3 convolution without bias, batch norm, ReLU6."""
    x = layers.DepthwiseConv2D(3, strides, padding="same", use_bias=False, depthwise_initializer="he_normal")(x)
    return layers.ReLU(6.0)(layers.BatchNormalization(momentum=0.98)(x))


def squeeze_excite(x: Tensor, ratio: int = 8) -> Tensor:
    """Squeeze-and-excitation (Hu et al. 2018, arXiv:1709.01507): channels reweighted by their global mean."""
    channels = int(x.shape[-1])
    gate = layers.GlobalAveragePooling2D(keepdims=True)(x)
    gate = layers.Conv2D(max(8, channels // ratio), 1, activation="relu")(gate)
    gate = layers.Conv2D(channels, 1, activation="sigmoid")(gate)
    return layers.Multiply()([x, gate])


def fused_inverted_residual(x: Tensor, filters: int, expand: int, strides: int = 1, *, attention: bool) -> Tensor:
    """Fused-MBConv (Tan & Le 2021, arXiv:2104.00298): dense 3x3 expansion, 1x1 projection, residual where it fits."""
    y = conv_bn(x, int(x.shape[-1]) * expand, 3, strides)
    if attention:
        y = squeeze_excite(y)
    y = conv_bn(y, filters, 1, activate=False)
    return layers.Add()([x, y]) if strides == 1 and x.shape[-1] == filters else y


def inverted_residual(x: Tensor, filters: int, expand: int, strides: int = 1, *, attention: bool) -> Tensor:
    """MBConv (Sandler et al. 2018, arXiv:1801.04381): 1x1 expansion, depthwise 3x3, linear 1x1 projection."""
    y = conv_bn(x, int(x.shape[-1]) * expand, 1)
    y = depthwise_bn(y, strides)
    if attention:
        y = squeeze_excite(y)
    y = conv_bn(y, filters, 1, activate=False)
    return layers.Add()([x, y]) if strides == 1 and x.shape[-1] == filters else y


def logits_head(x: Tensor, classes: int, dropout: float) -> Tensor:
    """Global average pooling, dropout, a dense layer of logits. float32 under mixed precision too."""
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Dropout(dropout)(x)
    return layers.Dense(classes, dtype="float32", name="logits")(x)
