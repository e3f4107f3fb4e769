"""Scores of a classifier, from first principles and numpy only.

Everything but the ranking scores is computed from the confusion matrix, so that figures of one report can't disagree.
Where a ratio is 0 / 0 (a class that was never predicted, or has no rows) it counts as 0, as in scikit-learn
(zero_division=0). Definitions: Sokolova and Lapalme, A systematic analysis of performance measures for
classification tasks, Information Processing and Management 45 (2009), tables 2 and 3.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FERPLUS_MAJORITY_VOTES = 5
"""FER+'s ten taggers agree on a class when more than this many chose it (majority voting of Barsoum, Zhang,
Canton Ferrer, Zhang: Training Deep Networks for Facial Expression Recognition with Crowd-Sourced Label
Distribution, ICMI 2016, https://arxiv.org/abs/1608.01041, section 3)."""


@dataclass(frozen=True, slots=True)
class ClassScores:
    """One value a class, each (C,) float64 in 0..1; support (C,) int64."""

    precision: NDArray[np.float64]
    recall: NDArray[np.float64]
    specificity: NDArray[np.float64]
    f1: NDArray[np.float64]
    support: NDArray[np.int64]
    """Rows that truly are of the class."""


@dataclass(frozen=True, slots=True)
class Confusion:
    """An off-diagonal cell of the confusion matrix."""

    true: int
    predicted: int
    rows: int
    share: float
    """Of the rows that truly are ``true``, 0..1."""


@dataclass(frozen=True, slots=True)
class RiskCoverage:
    """Accuracy of the rows that are answered when only the most confident are, each (N,) float64."""

    coverage: NDArray[np.float64]
    """1/N, 2/N ... 1: the share of rows answered."""
    accuracy: NDArray[np.float64]
    """Of the rows answered; risk is one minus it."""
    threshold: NDArray[np.float64]
    """The least confidence among the rows answered."""

    def at(self, coverage: float) -> tuple[float, float]:
        """(accuracy, threshold) where at least ``coverage`` (0..1] of the rows is answered."""
        index = int(np.searchsorted(self.coverage, coverage - 1e-9))
        index = min(index, len(self.coverage) - 1)
        return float(self.accuracy[index]), float(self.threshold[index])

    @property
    def area(self) -> float:
        """AURC, the mean risk over all coverages: 0 is perfect (Geifman, Uziel, El-Yaniv, ICLR 2019)."""
        return float(np.mean(1.0 - self.accuracy))


def confusion_matrix(labels: NDArray[np.integer], predicted: NDArray[np.integer], classes: int) -> NDArray[np.int64]:
    """(C, C) int64 counts: row = true class, column = predicted class. labels and predicted: (N,) indices below C."""
    cells = np.asarray(labels, dtype=np.int64) * classes + np.asarray(predicted, dtype=np.int64)
    return np.bincount(cells, minlength=classes * classes).reshape(classes, classes).astype(np.int64)


def accuracy(confusion: NDArray[np.int64]) -> float:
    """trace / sum: the share of rows that are right."""
    return float(np.trace(confusion) / confusion.sum()) if confusion.sum() else 0.0


def class_scores(confusion: NDArray[np.int64]) -> ClassScores:
    """One-against-rest scores of each class.

    With TP the diagonal, FN the rest of its row, FP the rest of its column, TN everything else:
    precision = TP / (TP + FP), recall (sensitivity) = TP / (TP + FN), specificity = TN / (TN + FP),
    F1 = 2 TP / (2 TP + FP + FN), the harmonic mean of precision and recall.
    """
    true_positive = np.diagonal(confusion)
    support, guessed = confusion.sum(axis=1), confusion.sum(axis=0)
    false_positive, false_negative = guessed - true_positive, support - true_positive
    true_negative = confusion.sum() - true_positive - false_positive - false_negative
    return ClassScores(
        precision=_ratio(true_positive, guessed),
        recall=_ratio(true_positive, support),
        specificity=_ratio(true_negative, true_negative + false_positive),
        f1=_ratio(2 * true_positive, support + guessed),
        support=support.astype(np.int64),
    )


def macro(values: NDArray[np.float64]) -> float:
    """The plain mean over classes: every class counts alike, however rare. Macro recall is balanced accuracy."""
    return float(values.mean())


def weighted(values: NDArray[np.float64], support: NDArray[np.int64]) -> float:
    """sum(value * support) / sum(support): every row counts alike. Weighted recall is accuracy."""
    return float((values * support).sum() / support.sum()) if support.sum() else 0.0


def top_confusions(confusion: NDArray[np.int64], count: int) -> list[Confusion]:
    """The ``count`` largest off-diagonal cells that are not empty, most rows first."""
    found = [
        Confusion(true, predicted, int(confusion[true, predicted]), float(confusion[true, predicted] / row.sum()))
        for true, row in enumerate(confusion)
        for predicted in range(len(confusion))
        if true != predicted and confusion[true, predicted]
    ]
    return sorted(found, key=lambda each: (-each.rows, -each.share, each.true, each.predicted))[:count]


def risk_coverage(confidence: NDArray[np.floating], right: NDArray[np.bool_]) -> RiskCoverage:
    """Answer the most confident rows first and see how accuracy falls (El-Yaniv and Wiener, JMLR 11, 2010).

    confidence, right: (N,). Rows of equal confidence can't be told apart by a threshold, so each counts as the mean
    of its group: the curve does not depend on the order of the rows (int8 outputs tie often).
    """
    _, group = np.unique(-np.asarray(confidence, dtype=np.float64), return_inverse=True)
    mean_of_group = np.bincount(group, weights=right) / np.bincount(group)
    order = np.argsort(group, kind="stable")
    answered = np.arange(1, len(order) + 1)
    return RiskCoverage(
        coverage=answered / len(order),
        accuracy=np.cumsum(mean_of_group[group[order]]) / answered,
        threshold=np.asarray(confidence, dtype=np.float64)[order],
    )


def ferplus_agreement(votes: NDArray[np.floating], predicted: NDArray[np.integer]) -> tuple[float, int]:
    """How often the prediction is what FER+'s taggers agree on: (share of right rows, number of such rows).

    votes: (N, C) unnormalized votes for the network's classes (of ten; contempt, unknown and no-face votes are left
    out of the columns but still count among the ten). Only rows where one class has more than
    FERPLUS_MAJORITY_VOTES votes are scored. (0.0, 0) where there is none.
    """
    agreed = votes.max(axis=1) > FERPLUS_MAJORITY_VOTES
    rows = int(agreed.sum())
    return (float((votes.argmax(axis=1) == predicted)[agreed].mean()) if rows else 0.0), rows


def _ratio(above: NDArray[np.int64], below: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.divide(above, below, out=np.zeros(len(above), dtype=np.float64), where=below != 0)
