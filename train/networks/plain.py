"""The plain CNNs usual on FER-2013, for comparison: three, six and seven convolutions."""

import keras
from keras import layers

from train.networks.blocks import Tensor, conv_bn, scaled_input, squeeze_excite


def _attend(x: Tensor, wanted: bool) -> Tensor:
    return squeeze_excite(x) if wanted else x


def three_conv(
    classes: int, size: int = 48, *, dropout: float | None = None, squeeze_excite: bool = False
) -> keras.Model:
    """32, 64, 128 filters, each with pooling; dense 256; dropout .5."""
    inputs, x = scaled_input(size)
    for filters in (32, 64, 128):
        x = layers.Conv2D(filters, 3, padding="same", activation="relu")(x)
        x = layers.MaxPooling2D()(_attend(x, squeeze_excite))
    x = layers.Dense(256, activation="relu")(layers.Flatten()(x))
    x = layers.Dropout(0.5 if dropout is None else dropout)(x)
    return keras.Model(inputs, layers.Dense(classes, dtype="float32", name="logits")(x), name="three-conv")


def six_conv(
    classes: int, size: int = 48, *, dropout: float | None = None, squeeze_excite: bool = False
) -> keras.Model:
    """32 | 64 | 128, 128 | 256, 256 filters with batch norm, pooling and dropout .25 after each group; dense 256."""
    rate = 0.25 if dropout is None else dropout
    inputs, x = scaled_input(size)
    for group in ((32,), (64,), (128, 128), (256, 256)):
        for filters in group:
            x = conv_bn(x, filters)
        x = layers.Dropout(rate)(layers.MaxPooling2D()(_attend(x, squeeze_excite)))
    x = layers.Dense(256, activation="relu")(layers.Flatten()(x))
    x = layers.Dropout(2 * rate)(x)
    return keras.Model(inputs, layers.Dense(classes, dtype="float32", name="logits")(x), name="six-conv")


def seven_conv(
    classes: int, size: int = 48, *, dropout: float | None = None, squeeze_excite: bool = False
) -> keras.Model:
    """64, 64 | 128, 128 | 256, 256, 256 filters with batch norm, pooling and dropout after each group; dense 256."""
    rate = 0.25 if dropout is None else dropout
    inputs, x = scaled_input(size)
    for group in ((64, 64), (128, 128), (256, 256, 256)):
        for filters in group:
            x = conv_bn(x, filters)
        x = layers.Dropout(rate)(layers.MaxPooling2D()(_attend(x, squeeze_excite)))
    x = layers.Dense(256, activation="relu")(layers.Flatten()(x))
    x = layers.Dropout(2 * rate)(x)
    return keras.Model(inputs, layers.Dense(classes, dtype="float32", name="logits")(x), name="seven-conv")
