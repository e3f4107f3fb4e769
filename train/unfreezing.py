"""Transfer learning's stages: a frozen base first, then more and more of it at lower rates."""

import math

import keras

from train.networks.transfer import BASE_NAME
from train.recipe import Recipe


def stages(recipe: Recipe) -> list[tuple[int, int, float | None, float | None]]:
    """(first epoch, end, share of the base that trains, learning rate); one stage but for gradual unfreezing."""
    if not recipe.unfreeze:
        return [(0, recipe.epochs, None, None)]
    starts = [int(first) for first, _, _ in recipe.unfreeze] + [recipe.epochs]
    return [
        (first, end, share, rate)
        for first, end, (_, share, rate) in zip(starts[:-1], starts[1:], recipe.unfreeze, strict=True)
    ]


def unfreeze(network: keras.Model, share: float) -> None:
    """Make the last ``share`` of the base's layers trainable and freeze the others; batch norms stay frozen."""
    base = network.get_layer(BASE_NAME)
    base.trainable = True
    kept = math.floor(len(base.layers) * (1 - share))
    for index, layer in enumerate(base.layers):
        layer.trainable = index >= kept and not isinstance(layer, keras.layers.BatchNormalization)
