"""``python -m train augment``: what the recipe's augmentation makes of real samples, as a picture to look at."""

import argparse
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from train.augment import augmented
from train.checkpoint import replace_file
from train.dataset import TRAIN
from train.options import add_data_arguments, add_recipe_arguments, dataset_from, recipe_from
from train.pictures import png
from train.recipe import Recipe

VERSIONS = 10
"""Augmented copies beside each original."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_data_arguments(parser)
    add_recipe_arguments(parser)
    parser.add_argument("--out", type=Path, default=Path("out/augmentation.png"), help="the picture to write")


def sheet(images: NDArray[np.uint8], names: tuple[str, ...], recipe: Recipe) -> bytes:
    """A PNG: one row a picture, the original first, then VERSIONS augmented copies."""
    repeated = augmented(np.repeat(images, VERSIONS, axis=0), recipe.augment, recipe.seed)
    copies = repeated.reshape(len(images), VERSIONS, *images.shape[1:])
    figure = Figure(figsize=(VERSIONS + 1.6, len(images) + 0.8))
    for row, axes in enumerate(figure.subplots(len(images), VERSIONS + 1, squeeze=False)):
        for axis, image in zip(axes, [images[row], *copies[row]], strict=True):
            axis.imshow(image, cmap="gray", vmin=0, vmax=255)
            axis.set(xticks=[], yticks=[])
        axes[0].set_ylabel(names[row])
    ranges = ", ".join(f"{key} {value}" for key, value in recipe.as_dict()["augment"].items())
    figure.suptitle(f"original, then augmented: {ranges}", fontsize=8)
    return png(figure)


def run(args: argparse.Namespace) -> int:
    recipe = recipe_from(args)
    train = dataset_from(args, recipe.size).subset(TRAIN)
    picked = [int(np.flatnonzero(train.labels == index)[0]) for index in range(len(train.classes))]
    data = sheet(train.images[picked], train.classes, recipe)

    def write(part: Path) -> None:
        part.write_bytes(data)

    replace_file(args.out, write)
    print(f"written: {args.out}")
    return 0
