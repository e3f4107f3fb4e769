"""Seeded, stratified splits: 80/10/10 and k folds."""

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from edge.errors import DataError
from train.dataset import TEST, TRAIN, VALIDATION

SHARES: Mapping[str, float] = {TRAIN: 0.8, VALIDATION: 0.1, TEST: 0.1}


def stratified_split(labels: NDArray[np.int64], seed: int, shares: Mapping[str, float] = SHARES) -> NDArray[np.str_]:
    """Deal each class out to the splits by ``shares`` (which sum to 1), at random by ``seed``.

    labels: (N,). Returns (N,) split names. Every split but the first gets at least one row of each class that has as
    many rows as there are splits; rounding falls to the first.
    """
    generator = np.random.default_rng(seed)
    first, *others = shares
    splits = np.full(len(labels), first, dtype="<U16")
    for label in np.unique(labels):
        shuffled = generator.permutation(np.flatnonzero(labels == label))
        taken = 0
        for name in others:
            count = round(shares[name] * len(shuffled))
            if len(shuffled) >= len(shares):
                count = max(1, count)
            splits[shuffled[taken : taken + count]] = name
            taken += count
    return splits


def kfold(labels: NDArray[np.int64], k: int, seed: int) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Stratified k-fold cross-validation: each row is in exactly one of the k validation folds.

    labels: (N,). Yields k pairs of sorted (train_idx, val_idx). The folds' sizes, and the counts of any class in them,
    differ by at most one. Raises DataError where k is under 2 or a class has fewer than k rows.
    """
    if k < 2:
        raise DataError(f"expected 2 folds or more, got {k}")
    values, counts = np.unique(labels, return_counts=True)
    if len(labels) == 0 or counts.min() < k:
        fewest = f"class {values[counts.argmin()]} has only {counts.min()}" if len(labels) else "there are none"
        raise DataError(f"expected at least {k} rows of each class for {k} folds, {fewest}; use fewer folds")
    generator = np.random.default_rng(seed)
    # Dealing the classes one after the other, like cards, keeps both the classes and the folds even.
    order = np.concatenate([generator.permutation(np.flatnonzero(labels == value)) for value in values])
    fold = np.empty(len(labels), dtype=np.int64)
    fold[order] = np.arange(len(labels)) % k
    for number in range(k):
        yield np.flatnonzero(fold != number), np.flatnonzero(fold == number)
