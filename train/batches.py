"""Batches whose order depends on seed and epoch alone."""

import keras
import numpy as np
from numpy.typing import NDArray

from train.recipe import Recipe


class ShuffledBatches(keras.utils.PyDataset):
    """Batches of one epoch in an order that depends on seed and epoch alone, so that a resumed run sees the same."""

    def __init__(
        self, images: NDArray[np.uint8], targets: NDArray[np.float32], weights: NDArray[np.float32], recipe: Recipe
    ) -> None:
        super().__init__()
        self.images, self.targets, self.weights, self.recipe = images[..., None], targets, weights, recipe
        self.start_epoch(0)

    def start_epoch(self, epoch: int) -> None:
        self.epoch = epoch
        self.order = np.random.default_rng((self.recipe.seed, epoch)).permutation(len(self.images))

    def on_epoch_end(self) -> None:
        self.start_epoch(self.epoch + 1)

    def __len__(self) -> int:
        # A short last batch would be compiled anew and weigh its rows more; its rows come up in another epoch.
        return max(1, len(self.images) // self.recipe.batch_size)

    def __getitem__(self, index: int) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.float32]]:
        rows = self.order[index * self.recipe.batch_size : (index + 1) * self.recipe.batch_size]
        return self.images[rows], self.targets[rows], self.weights[rows]
