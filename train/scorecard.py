"""Everything ``train evaluate`` says about one network on one split, computed once from its logits."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.calibration import Calibration, calibrated
from edge.errors import DataError
from train import metrics
from train.calibration import Reliability, fitted_stages, stored_stages

COVERAGES = (0.8, 0.6)
"""The shares of rows for which the accuracy of the most confident answers is given."""

TOP_CONFUSIONS = 10


@dataclass(frozen=True)
class Scorecard:
    """Scores of N rows over C classes. Probabilities are calibrated unless said otherwise."""

    classes: tuple[str, ...]
    labels: NDArray[np.int64]
    """(N,) the truth."""
    predicted: NDArray[np.int64]
    """(N,) the class of the greatest logit: calibration does not change it."""
    confidence: NDArray[np.float64]
    """(N,) probability of the predicted class."""
    confusion: NDArray[np.int64]
    """(C, C): row = truth, column = prediction."""
    per_class: metrics.ClassScores
    calibration: Calibration
    stages: dict[str, Reliability]
    """``before`` and ``after`` the calibration; where it was fitted on these very rows, ``temperature_alone`` and
    ``crossvalidated`` too (train/calibration.py, fitted_stages)."""
    coverage: metrics.RiskCoverage
    confusions: list[metrics.Confusion]
    """The most confused pairs, most rows first."""
    ferplus: tuple[float, int] | None = None
    """Agreement with FER+'s majority labels and the rows that have one; None without FER+."""
    flip_averaged: float | None = None
    """Accuracy of the mean of the probabilities of a picture and its mirror image: two passes, not what ships."""

    @property
    def accuracy(self) -> float:
        return metrics.accuracy(self.confusion)

    @property
    def macro_f1(self) -> float:
        return metrics.macro(self.per_class.f1)

    @property
    def worst_first(self) -> NDArray[np.int64]:
        """Rows that are wrong, the most confident first."""
        wrong = np.flatnonzero(self.predicted != self.labels)
        return wrong[np.argsort(-self.confidence[wrong], kind="stable")]

    def as_json(self) -> dict[str, Any]:
        """The content of metrics.json that depends on the scores alone."""
        kinds = ("precision", "recall", "specificity", "f1")
        values = {kind: getattr(self.per_class, kind) for kind in kinds}
        support = self.per_class.support
        return {
            "rows": len(self.labels),
            "accuracy": self.accuracy,
            "macro": {kind: metrics.macro(values[kind]) for kind in kinds},
            "weighted": {kind: metrics.weighted(values[kind], support) for kind in kinds},
            "per_class": {
                name: {**{kind: float(values[kind][index]) for kind in kinds}, "support": int(support[index])}
                for index, name in enumerate(self.classes)
            },
            "classes": list(self.classes),
            "confusion": self.confusion.tolist(),
            "top_confusions": [
                {
                    "true": self.classes[each.true],
                    "predicted": self.classes[each.predicted],
                    "rows": each.rows,
                    "share_of_true": each.share,
                }
                for each in self.confusions
            ],
            "calibration": {
                "temperature": self.calibration.temperature,
                "smoothing": self.calibration.smoothing,
                **{f"ece_{name}": stage.ece for name, stage in self.stages.items()},
                **{f"nll_{name}": stage.nll for name, stage in self.stages.items()},
            },
            "risk_coverage": {
                "aurc": self.coverage.area,
                **{
                    f"{share:.2f}": dict(zip(("accuracy", "threshold"), self.coverage.at(share), strict=True))
                    for share in COVERAGES
                },
            },
            "ferplus_agreement": self.ferplus and {"agreement": self.ferplus[0], "rows": self.ferplus[1]},
            "flip_averaged_accuracy": self.flip_averaged,
        }

    def as_text(self) -> str:
        """The same for a terminal, shares in per cent."""
        width = max(9, *(len(name) for name in self.classes))
        lines = [f"accuracy {self.accuracy:.2%} of {len(self.labels)} rows, macro-F1 {self.macro_f1:.2%}"]
        if self.flip_averaged is not None:
            lines.append(f"flip-averaged accuracy {self.flip_averaged:.2%} (two passes; not what the device does)")
        if self.ferplus is not None:
            lines.append(f"FER+ agreement {self.ferplus[0]:.2%} of {self.ferplus[1]} rows with a majority")
        lines += ["", f"{'class':<{width}} precision    recall        F1  specificity      rows"]
        scores = self.per_class
        for index, name in enumerate(self.classes):
            lines.append(
                f"{name:<{width}} {scores.precision[index]:>9.1%} {scores.recall[index]:>9.1%} "
                f"{scores.f1[index]:>9.1%} {scores.specificity[index]:>12.1%} {scores.support[index]:>9}"
            )
        for name in ("macro", "weighted"):
            means = [
                metrics.macro(each) if name == "macro" else metrics.weighted(each, scores.support)
                for each in (scores.precision, scores.recall, scores.f1, scores.specificity)
            ]
            lines.append(
                f"{name:<{width}} {means[0]:>9.1%} {means[1]:>9.1%} {means[2]:>9.1%} {means[3]:>12.1%} "
                f"{len(self.labels):>9}"
            )
        cell = max(6, *(len(name) + 1 for name in self.classes))
        lines += ["", "confusion matrix, rows = truth, columns = prediction"]
        lines.append(" " * width + "".join(f"{name:>{cell}}" for name in self.classes))
        for name, row in zip(self.classes, self.confusion, strict=True):
            lines.append(f"{name:<{width}}" + "".join(f"{count:>{cell}}" for count in row))
        lines += ["", "most confused"]
        lines += [
            f"  {self.classes[each.true]} taken for {self.classes[each.predicted]}: {each.rows} rows, "
            f"{each.share:.0%} of {self.classes[each.true]}"
            for each in self.confusions
        ] or ["  none: every row is right"]
        wide = max(len(stage.what) for stage in self.stages.values())
        lines += ["", f"{'calibration':<{wide}} {'ECE':>8} {'NLL':>8}"]
        lines += [f"{stage.what:<{wide}} {stage.ece:>8.4f} {stage.nll:>8.4f}" for stage in self.stages.values()]
        lines.append("")
        for share in COVERAGES:
            right, threshold = self.coverage.at(share)
            lines.append(f"answering the surest {share:.0%}: accuracy {right:.2%}, confidence from {threshold:.3f}")
        lines.append(f"area under the risk-coverage curve {self.coverage.area:.4f}")
        return "\n".join(lines)


def score(
    classes: tuple[str, ...],
    labels: NDArray[np.int64],
    logits: NDArray[np.float32],
    *,
    calibration: Calibration | None = None,
    votes: NDArray[np.float32] | None = None,
    flipped_logits: NDArray[np.float32] | None = None,
) -> Scorecard:
    """Score (N, C) logits against (N,) labels.

    calibration: None fits it on these very rows. votes: (N, C) FER+ votes. flipped_logits: (N, C) of the mirrored
    pictures. Raises DataError where a class has no row, because its recall and F1, and so the macro scores, would say
    nothing.
    """
    missing = [name for index, name in enumerate(classes) if not (labels == index).any()]
    if missing:
        raise DataError(
            f"expected rows of every class, none is {' or '.join(missing)}; score a split that has them, or a network "
            "and --classes without them"
        )
    if calibration is None:
        calibration, stages = fitted_stages(logits, labels)
    else:
        stages = stored_stages(calibration, logits, labels)
    after = calibrated(logits, calibration)
    predicted = logits.argmax(axis=1).astype(np.int64)
    confidence = after[np.arange(len(labels)), predicted]
    confusion = metrics.confusion_matrix(labels, predicted, len(classes))
    flip_averaged = None
    if flipped_logits is not None:
        flip_averaged = float(((after + calibrated(flipped_logits, calibration)).argmax(axis=1) == labels).mean())
    return Scorecard(
        classes=classes,
        labels=labels,
        predicted=predicted,
        confidence=confidence,
        confusion=confusion,
        per_class=metrics.class_scores(confusion),
        calibration=calibration,
        stages=stages,
        coverage=metrics.risk_coverage(confidence, predicted == labels),
        confusions=metrics.top_confusions(confusion, TOP_CONFUSIONS),
        ferplus=None if votes is None else metrics.ferplus_agreement(votes, predicted),
        flip_averaged=flip_averaged,
    )
