"""Is a confidence of .8 right in 80 % of cases? Fitting temperature and smoothing, and how far off they leave it.

What the two numbers do is in edge/calibration.py. Temperature and ECE follow Guo, Pleiss, Sun, Weinberger: On
Calibration of Modern Neural Networks, ICML 2017 (https://arxiv.org/abs/1706.04599). numpy only, so that convert/ fits
a TFLite file with it too.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge.calibration import Calibration, calibrated
from edge.errors import DataError

TEMPERATURE_RANGE = (0.05, 20.0)
"""The fit stays inside: rows that a network gets all right would otherwise ask for temperature 0."""

MOST_SMOOTHING = 0.5
"""Targets are hardly ever smoothed by more than .2; a fit beyond a half would have nothing left to tell apart."""

FOLDS = 5
"""Of the cross-validated calibration."""

FITTED_NOTE = "the cross-validated figure is the one to expect of new rows"
"""Goes with figures measured on the rows of the fit."""

_GOLDEN = (5**0.5 - 1) / 2


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


@dataclass(frozen=True, slots=True)
class Reliability:
    """How far one set of probabilities can be believed."""

    what: str
    """Which probabilities, in words."""
    ece: float
    """Expected calibration error, 0..1."""
    nll: float
    """Negative log-likelihood in nats."""
    bins: list[ReliabilityBin]


def reliability(what: str, probabilities: NDArray[np.floating], labels: NDArray[np.integer]) -> Reliability:
    """All figures of (N, C) probabilities against (N,) labels. Raises DataError as fit_temperature does."""
    return Reliability(
        what,
        expected_calibration_error(probabilities, labels),
        negative_log_likelihood(probabilities, labels),
        reliability_bins(probabilities, labels),
    )


def fitted_stages(
    logits: NDArray[np.floating], labels: NDArray[np.integer]
) -> tuple[Calibration, dict[str, Reliability]]:
    """The calibration fitted on these rows, and what each part of it brings: ``before``, ``temperature_alone``,
    ``after``, all on these very rows, and ``crossvalidated``, the one figure of rows that the fit has not seen."""
    alone = Calibration(fit_temperature(logits, labels))
    calibration = fit_calibration(logits, labels)
    return calibration, {
        "before": reliability("uncalibrated", calibrated(logits, Calibration()), labels),
        "temperature_alone": reliability(f"{described(alone)} alone", calibrated(logits, alone), labels),
        "after": reliability(described(calibration), calibrated(logits, calibration), labels),
        "crossvalidated": reliability(f"cross-validated, {FOLDS} folds", crossvalidated(logits, labels), labels),
    }


def stored_stages(
    calibration: Calibration, logits: NDArray[np.floating], labels: NDArray[np.integer]
) -> dict[str, Reliability]:
    """``before`` and ``after`` a calibration that was fitted on other rows."""
    return {
        "before": reliability("uncalibrated", calibrated(logits, Calibration()), labels),
        "after": reliability(described(calibration), calibrated(logits, calibration), labels),
    }


def described(calibration: Calibration) -> str:
    smoothing = f", smoothing {calibration.smoothing:.3f} undone" if calibration.smoothing else ""
    return f"temperature {calibration.temperature:.3f}{smoothing}"


def negative_log_likelihood(probabilities: NDArray[np.floating], labels: NDArray[np.integer]) -> float:
    """mean(-log p[label]) in nats of (N, C) probabilities. A p that float64 holds as 0 counts as its least, 2e-308."""
    _check(probabilities, labels)
    of_label = np.asarray(probabilities, dtype=np.float64)[np.arange(len(labels)), labels]
    return float(np.log(1.0 / np.maximum(of_label, np.finfo(np.float64).tiny)).mean())


def fit_calibration(logits: NDArray[np.floating], labels: NDArray[np.integer]) -> Calibration:
    """Temperature and smoothing of the least negative log-likelihood, never worse than the best temperature alone.

    logits: (N, C) of rows the network was not trained on. labels: (N,) indices into C.
    The smoothing is searched by golden section in 0..MOST_SMOOTHING, for each one the temperature, which smoothing
    undone can only raise much. Deterministic. Raises DataError as fit_temperature does.
    """
    alone = fit_temperature(logits, labels)
    low, high = np.log(np.clip((alone / 2, alone * 4), *TEMPERATURE_RANGE))

    def loss(calibration: Calibration) -> float:
        return negative_log_likelihood(calibrated(logits, calibration), labels)

    def best_with(smoothing: float) -> Calibration:
        log_t = _golden_section(lambda each: loss(Calibration(float(np.exp(each)), smoothing)), low, high)
        return Calibration(float(np.exp(log_t)), smoothing)

    smoothing = _golden_section(lambda each: loss(best_with(each)), 0.0, MOST_SMOOTHING)
    return min(Calibration(alone), best_with(smoothing), key=loss)


def crossvalidated(
    logits: NDArray[np.floating], labels: NDArray[np.integer], folds: int = FOLDS, seed: int = 0
) -> NDArray[np.float64]:
    """(N, C) probabilities, each row's with the calibration fitted on the other folds' rows: what new rows would get.

    Folds are drawn by ``seed``, at most N of them. Raises DataError as fit_temperature does.
    """
    _check(logits, labels)
    fold = np.random.default_rng(seed).permutation(len(labels)) % min(folds, len(labels))
    probabilities = np.zeros(logits.shape)
    for number in range(fold.max() + 1):
        held_out = fold == number
        calibration = fit_calibration(logits[~held_out], labels[~held_out])
        probabilities[held_out] = calibrated(logits[held_out], calibration)
    return probabilities


def _golden_section(loss: Callable[[float], float], low: float, high: float, tolerance: float = 1e-4) -> float:
    """Where ``loss`` is least in low..high, to ``tolerance``; of several minima, one."""
    left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
    at_left, at_right = loss(left), loss(right)
    while high - low > tolerance:
        if at_left <= at_right:
            high, right, at_right = right, left, at_left
            left = high - _GOLDEN * (high - low)
            at_left = loss(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + _GOLDEN * (high - low)
            at_right = loss(right)
    return float((low + high) / 2)


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
        probabilities = calibrated(values, Calibration(float(np.exp(-log_b))))
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
