"""What is wrong with pictures and labels, and training without it.

Only training rows are ever left out: validation and test rows stay, so that scores remain comparable with others'.
"""

from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from train.dataset import TRAIN, Dataset


@dataclass(frozen=True)
class Findings:
    """(N,) masks over a dataset's rows, of any split unless said."""

    group: NDArray[np.int64]
    """Rows with identical pixels have the same number."""
    constant: NDArray[np.bool_]
    """One grey level all over."""
    no_face: NDArray[np.bool_]
    """All ten FER+ taggers saw no face."""
    leaked: NDArray[np.bool_]
    """Training rows whose picture is also in validation or test."""
    conflicting: NDArray[np.bool_]
    """Training rows whose picture is in training with another label too."""
    repeated: NDArray[np.bool_]
    """Training rows whose picture came before in training."""

    @property
    def unique(self) -> int:
        """How many different pictures there are."""
        return int(self.group.max()) + 1 if len(self.group) else 0


def picture_groups(images: NDArray[np.uint8]) -> NDArray[np.int64]:
    """(N, H, W) -> (N,) group numbers from 0 in order of appearance; identical pictures share one."""
    numbers: dict[bytes, int] = {}
    digests = (blake2b(image.tobytes(), digest_size=16).digest() for image in images)
    return np.fromiter((numbers.setdefault(digest, len(numbers)) for digest in digests), np.int64, len(images))


def inspect(dataset: Dataset) -> Findings:
    """Look for what training is better without."""
    group = picture_groups(dataset.images)
    train = dataset.splits == TRAIN
    size = int(group.max()) + 1 if len(group) else 0

    seen_outside = np.zeros(size, dtype=bool)
    seen_outside[group[~train]] = True

    labels_of_group = np.zeros((size, len(dataset.classes)), dtype=bool)
    labels_of_group[group[train], dataset.labels[train]] = True

    repeated = train.copy()
    _, first = np.unique(group[train], return_index=True)
    repeated[np.flatnonzero(train)[first]] = False

    return Findings(
        group=group,
        constant=dataset.images.max(axis=(1, 2)) == dataset.images.min(axis=(1, 2)),
        no_face=np.zeros(len(dataset), dtype=bool) if dataset.no_face is None else dataset.no_face,
        leaked=train & seen_outside[group],
        conflicting=train & (labels_of_group.sum(axis=1) > 1)[group],
        repeated=repeated,
    )


def clean(dataset: Dataset) -> Dataset:
    """Without constant, no-face, leaked, contradicting and repeated training rows; each is listed in ``dropped``.

    Of identical training pictures with one label the first stays; with several labels none does.
    """
    found = inspect(dataset)
    train = dataset.splits == TRAIN
    return dataset.drop(
        {
            "constant picture in training": train & found.constant,
            "no face in training, say all FER+ taggers": train & found.no_face,
            "training picture that validation or test has too": found.leaked,
            "identical training pictures with different labels": found.conflicting,
            "training picture that came before": found.repeated,
        }
    )
