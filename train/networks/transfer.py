"""Transfer learning from Keras' own VGG16, VGG19, ResNet50V2 and MobileNetV2 bases."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
from keras import layers

from edge.errors import RunError
from train.networks.blocks import Tensor, logits_head

BASE_NAME = "base"
"""The name of the pre-trained part inside a transfer network; fit freezes and unfreezes its layers."""

TRANSFER_BASES: dict[str, Callable[..., Any]] = {
    "vgg16": keras.applications.VGG16,
    "vgg19": keras.applications.VGG19,
    "resnet50v2": keras.applications.ResNet50V2,
    "mobilenetv2": keras.applications.MobileNetV2,
}

IMAGENET_BGR_MEAN = 115.0
"""Grey stand-in for the Caffe-style channel means 103.9, 116.8, 123.7 that the VGG weights were trained with."""


def _as_the_base_expects(grey: Tensor, name: str) -> Tensor:
    """Grey 0..255 repeated to three channels and scaled as the base's own preprocess_input does."""
    if name.startswith("vgg"):
        scaled = layers.Rescaling(1.0, offset=-IMAGENET_BGR_MEAN, name="scale")(grey)
    else:
        scaled = layers.Rescaling(1 / 127.5, offset=-1.0, name="scale")(grey)
    return layers.Concatenate(name="grey_to_rgb")([scaled, scaled, scaled])


def transfer(name: str, classes: int, size: int, *, dropout: float | None, weights: str) -> keras.Model:
    """A base without its top, global pooling, dropout, logits.

    weights: ``imagenet`` (Keras downloads them), ``none`` (random), or a ``.weights.h5``/``.h5`` file.
    Raises RunError where the weights can't be had or don't fit.
    """
    inputs = keras.Input((size, size, 1), name="grey")
    shape = (size, size, 3)
    try:
        base = TRANSFER_BASES[name](
            include_top=False, weights="imagenet" if weights == "imagenet" else None, input_shape=shape, name=BASE_NAME
        )
        if weights not in ("imagenet", "none"):
            if not Path(weights).is_file():
                raise RunError(
                    f"expected imagenet, none or a weights file, found no file {weights}; give its path with --weights"
                )
            base.load_weights(weights)
    except RunError:
        raise
    except Exception as error:  # Keras raises bare Exception for a failed download
        reason = " ".join(str(error).split())[:160]
        raise RunError(
            f"the {name} weights {weights!r} can't be used ({reason}); download the no-top weights elsewhere and give "
            "them with --weights FILE, or start from random ones with --weights none"
        ) from error
    x = base(_as_the_base_expects(inputs, name))
    return keras.Model(inputs, logits_head(x, classes, 0.5 if dropout is None else dropout), name=name)
