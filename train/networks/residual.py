"""Residual networks of dense 3x3 convolutions (He et al. 2016, arXiv:1603.05027): the teachers of ``train distil``."""

import keras
from keras import layers

from train.networks.blocks import Tensor, conv_bn, logits_head, scaled_input, squeeze_excite


def _basic_block(x: Tensor, filters: int, strides: int, attention: bool) -> Tensor:
    y = conv_bn(x, filters, 3, strides)
    y = conv_bn(y, filters, 3, activate=False)
    if attention:
        y = squeeze_excite(y, 16)
    if strides != 1 or x.shape[-1] != filters:
        x = conv_bn(x, filters, 1, strides, activate=False)
    return layers.ReLU()(layers.Add()([x, y]))


def _residual(
    name: str, widths: tuple[int, ...], blocks: int, classes: int, size: int, dropout: float, attention: bool
) -> keras.Model:
    inputs, x = scaled_input(size)
    x = conv_bn(x, widths[0])
    for stage, filters in enumerate(widths):
        for index in range(blocks):
            x = _basic_block(x, filters, 2 if stage and index == 0 else 1, attention)
    return keras.Model(inputs, logits_head(x, classes, dropout), name=name)


def residual(
    classes: int, size: int = 48, *, dropout: float | None = None, squeeze_excite: bool = False
) -> keras.Model:
    """ResNet-18's plan for 48x48: widths 48, 96, 192, 384 at 48, 24, 12, 6 pixels; two blocks a stage; 6.3 M."""
    rate = 0.4 if dropout is None else dropout
    return _residual("residual", (48, 96, 192, 384), 2, classes, size, rate, squeeze_excite)


def residual_large(
    classes: int, size: int = 48, *, dropout: float | None = None, squeeze_excite: bool = False
) -> keras.Model:
    """Three blocks a stage, widths 64, 128, 256, 512; 17 M."""
    rate = 0.4 if dropout is None else dropout
    return _residual("residual-large", (64, 128, 256, 512), 3, classes, size, rate, squeeze_excite)
