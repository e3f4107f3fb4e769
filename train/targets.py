"""What the network is asked to answer: soft targets and how much each row counts."""

import numpy as np
from numpy.typing import NDArray


def soft_targets(
    labels: NDArray[np.int64],
    classes: int,
    votes: NDArray[np.float32] | None,
    *,
    label_smoothing: float,
    ferplus_blend: float,
) -> NDArray[np.float32]:
    """(N, C) float32 distributions, rows sum to 1.

    The smoothed label (Szegedy et al. 2016, arXiv:1512.00567), blended with the taggers' vote distribution (Barsoum et
    al. 2016, arXiv:1608.01041) where the row has votes.
    """
    one_hot = np.eye(classes, dtype=np.float32)[labels]
    targets = one_hot * (1 - label_smoothing) + label_smoothing / classes
    if votes is None or ferplus_blend == 0:
        return targets.astype(np.float32)
    totals = votes.sum(axis=1, keepdims=True)
    shares = votes / np.maximum(totals, 1)
    blended = (1 - ferplus_blend) * targets + ferplus_blend * shares
    return np.where(totals > 0, blended, targets).astype(np.float32)


def row_weights(labels: NDArray[np.int64], classes: int, kind: str) -> NDArray[np.float32]:
    """(N,) float32 with mean 1. kind: none, sqrt or balanced (see Recipe.class_weights)."""
    if kind == "none":
        return np.ones(len(labels), np.float32)
    counts = np.maximum(np.bincount(labels, minlength=classes), 1)
    power = 0.5 if kind == "sqrt" else 1.0
    weights = (1.0 / counts**power)[labels]
    return (weights / weights.mean()).astype(np.float32)
