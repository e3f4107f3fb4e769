"""Batch norms whose means and variances are those of pictures as they come in use.

While training, the moving averages follow augmented pictures alone, and weights that are not yet the averaged ones.
"""

import keras
import numpy as np
from numpy.typing import NDArray

from train.augment import AugmentSettings, augmented

BATCH_PIXELS = 512 * 48 * 48
"""In all pictures of a batch together, so that large pictures take no more memory."""


def sharp_and_soft(images: NDArray[np.uint8], rows: int, augment: AugmentSettings, seed: int) -> NDArray[np.uint8]:
    """At most ``rows`` of (N, S, S) uint8 training pictures, drawn by seed; every second one augmented.

    A camera's crops are sharp where the face is large, soft where it had to be enlarged, as augmentation's resampling
    is. Statistics of plain pictures alone serve the first and fail the second (README, "On the workstation").
    """
    drawn = images[np.random.default_rng(seed).permutation(len(images))[:rows]]
    if len(drawn) > 1:
        drawn[1::2] = augmented(drawn[1::2], augment, seed)
    return drawn


def estimate_statistics(network: keras.Model, images: NDArray[np.uint8]) -> bool:
    """Give the network's batch norms the means and variances that these pictures have in it.

    images: (N, S, S) uint8 grey, as they come in use. PreciseBN (Wu & Johnson 2021, arXiv:2105.07576): the average
    over batches, all with the weights as they are now and, as in use, without dropout. Frozen batch norms keep what
    they have. False where there is nothing to estimate: no picture, or no batch norm but frozen ones.
    """
    every = network._flatten_layers()
    norms = [layer for layer in every if isinstance(layer, keras.layers.BatchNormalization) and layer.trainable]
    dropouts = [layer for layer in every if isinstance(layer, keras.layers.Dropout)]
    if not norms or not len(images):
        return False
    before = [(norm, "momentum", norm.momentum) for norm in norms]
    before += [(dropout, "rate", dropout.rate) for dropout in dropouts]
    for dropout in dropouts:
        dropout.rate = 0.0
    for done, batch in enumerate(np.array_split(images, min(len(images), max(1, round(images.size / BATCH_PIXELS))))):
        for norm in norms:
            norm.momentum = done / (done + 1)  # moving averages become the mean of all batches so far
        network(batch[..., None].astype(np.float32), training=True)
    for layer, name, value in before:
        setattr(layer, name, value)
    return True
