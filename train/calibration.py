"""Is a confidence of .8 right in 80 % of cases? Temperature scaling and how far off the probabilities are.

Temperature and ECE follow Guo, Pleiss, Sun, Weinberger: On Calibration of Modern Neural Networks, ICML 2017
(https://arxiv.org/abs/1706.04599). numpy only, so that convert/ fits the temperature of a TFLite file with it too.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge.errors import DataError

TEMPERATURE_RANGE = (0.05, 20.0)
"""The fit stays inside: rows that a network gets all right would otherwise ask for temperature 0."""


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """The rows whose confidence lies in (lower, upper]."""

    lower: float
    upper: float
    count: int
    confidence: float
    """Mean confidence of the rows; NaN where the bin is empty."""
    accuracy: float
    """Share of the rows that are right; NaN where the bin is empty."""


def softmax(logits: NDArray[np.floating], temperature: float = 1.0) -> NDArray[np.float64]:
    """(N, C) logits to (N, C) float64 probabilities: exp(z / T) / sum(exp(z / T)), shifted to never overflow."""
    scaled = np.asarray(logits, dtype=np.float64) / temperature
    scaled = scaled - scaled.max(axis=-1, keepdims=True)
    exponentials = np.exp(scaled)
    return np.asarray(exponentials / exponentials.sum(axis=-1, keepdims=True), dtype=np.float64)


def negative_log_likelihood(
    logits: NDArray[np.floating], labels: NDArray[np.integer], temperature: float = 1.0
) -> float:
    """mean(-log p[label]) in nats, p = softmax(logits / temperature)."""
    _check(logits, labels)
    scaled = np.asarray(logits, dtype=np.float64) / temperature
    top = scaled.max(axis=1)
    log_sum = top + np.log(np.exp(scaled - top[:, None]).sum(axis=1))
    return float(np.mean(log_sum - scaled[np.arange(len(labels)), labels]))


def fit_temperature(logits: NDArray[np.floating], labels: NDArray[np.integer]) -> float:
    """The temperature T > 0 whose softmax(logits / T) has the least negative log-likelihood.

    logits: (N, C) of rows the network was not trained on. labels: (N,) indices into C.
    With b = 1 / T the likelihood is convex in b, and its slope mean(sum(p * z) - z[label]) grows with b: its root is
    bisected, which needs no step size and can't miss. Kept inside TEMPERATURE_RANGE; 1.0 where the logits say nothing.

    Raises DataError where there are no rows, a label is outside 0..C-1 or a logit is not finite.
    """
    _check(logits, labels)
    values = np.asarray(logits, dtype=np.float64)
    of_label = float(values[np.arange(len(labels)), labels].mean())

    def slope(log_b: float) -> float:
        probabilities = softmax(values, temperature=float(np.exp(-log_b)))
        return float((probabilities * values).sum(axis=1).mean()) - of_label

    if np.ptp(values, axis=1).max() == 0:
        return 1.0
    coldest, hottest = TEMPERATURE_RANGE
    low, high = -np.log(hottest), -np.log(coldest)
    if slope(low) >= 0:
        return hottest
    if slope(high) <= 0:
        return coldest
    for _ in range(50):  # halves a range of 6 to below 1e-14
        middle = (low + high) / 2
        if slope(middle) < 0:
            low = middle
        else:
            high = middle
    return float(np.exp(-(low + high) / 2))


def reliability_bins(
    probabilities: NDArray[np.floating], labels: NDArray[np.integer], bins: int = 15
) -> list[ReliabilityBin]:
    """Rows sorted into ``bins`` equally wide bins (lower, upper] of confidence, the probability of the top class.

    probabilities: (N, C), rows sum to 1. labels: (N,) indices into C. Empty bins are included, so that the list can be
    drawn as it is. Raises DataError as fit_temperature does.
    """
    _check(probabilities, labels)
    confidence = np.asarray(probabilities, dtype=np.float64).max(axis=1)
    right = np.asarray(probabilities).argmax(axis=1) == labels
    edges = np.linspace(0.0, 1.0, bins + 1)
    index = np.clip(np.digitize(confidence, edges, right=True) - 1, 0, bins - 1)
    result = []
    for number in range(bins):
        inside = index == number
        count = int(inside.sum())
        result.append(
            ReliabilityBin(
                lower=float(edges[number]),
                upper=float(edges[number + 1]),
                count=count,
                confidence=float(confidence[inside].mean()) if count else float("nan"),
                accuracy=float(right[inside].mean()) if count else float("nan"),
            )
        )
    return result


def expected_calibration_error(
    probabilities: NDArray[np.floating], labels: NDArray[np.integer], bins: int = 15
) -> float:
    """ECE = sum over bins of (rows in bin / N) * |accuracy - mean confidence| (Guo et al. 2017, equation 3), 0..1."""
    filled = [each for each in reliability_bins(probabilities, labels, bins) if each.count]
    return sum(each.count * abs(each.accuracy - each.confidence) for each in filled) / len(labels)


def _check(scores: NDArray[np.floating], labels: NDArray[np.integer]) -> None:
    if scores.ndim != 2 or labels.shape != scores.shape[:1] or not len(labels):
        raise DataError(
            f"expected scores (N, C) and labels (N,) of at least one row, got {scores.shape} and {labels.shape}; "
            "score a split that has rows"
        )
    if labels.min() < 0 or labels.max() >= scores.shape[1]:
        row = int(np.argmax((labels < 0) | (labels >= scores.shape[1])))
        raise DataError(
            f"expected labels 0..{scores.shape[1] - 1}, row {row} has {labels[row]}; "
            "evaluate with the classes the network was trained on"
        )
    finite = np.isfinite(scores).all(axis=1)
    if not finite.all():
        raise DataError(
            f"expected finite scores, row {int(np.argmin(finite))} has {scores[int(np.argmin(finite))]}; "
            "the network's weights hold NaN or infinity: use an earlier checkpoint"
        )
