"""The pictures of an evaluation, drawn from a Scorecard; each function returns the bytes of a PNG.

Figures are built without pyplot: no global state, no display. The two colours are told apart by colour-blind readers
too (Okabe and Ito).
"""

import io

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from train.calibration import ReliabilityBin
from train.scorecard import COVERAGES, Scorecard

BLUE, ORANGE, GREEN, GREY = "#0072b2", "#d55e00", "#009e73", "#999999"


def png(figure: Figure) -> bytes:
    """A figure's PNG, cropped to what is drawn."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, bbox_inches="tight")
    return buffer.getvalue()


def confusion_heatmap(card: Scorecard) -> bytes:
    """Shares of each true class (rows sum to 100 %), with the counts below."""
    counts = card.confusion
    shares = counts / counts.sum(axis=1, keepdims=True)
    side = max(4.0, 0.95 * len(card.classes))
    figure = Figure(figsize=(side + 1.2, side))
    axes = figure.subplots()
    drawn = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), share in np.ndenumerate(shares):
        axes.text(
            column,
            row,
            f"{share:.0%}\n{counts[row, column]}",
            ha="center",
            va="center",
            fontsize=9,
            color="white" if share > 0.55 else "black",
        )
    _name_ticks(axes, card.classes)
    axes.set(xlabel="predicted", ylabel="true", title=f"Confusion matrix, {len(card.labels)} rows")
    figure.colorbar(drawn, ax=axes, label="share of the true class", fraction=0.046, pad=0.04)
    return png(figure)


def reliability_diagram(card: Scorecard) -> bytes:
    """Accuracy against confidence in bins for each stage of the calibration, and how many rows each bin holds."""
    stages = [stage for name, stage in card.stages.items() if name != "crossvalidated"]  # looks like "after"
    figure = Figure(figsize=(4.75 * len(stages), 5.0))
    upper, lower = figure.subplots(2, len(stages), sharex=True, gridspec_kw={"height_ratios": (3, 1)})
    for side, stage in enumerate(stages):
        bins = stage.bins
        _reliability(upper[side], bins)
        upper[side].set(title=f"{stage.what}\nECE {stage.ece:.4f}", ylim=(0, 1))
        middles = [(each.lower + each.upper) / 2 for each in bins]
        lower[side].bar(
            middles, [each.count for each in bins], width=0.95 * (bins[0].upper - bins[0].lower), color=GREY
        )
        lower[side].set(xlabel="confidence", xlim=(0, 1))
    upper[0].set_ylabel("share that is right")
    lower[0].set_ylabel("rows")
    upper[-1].legend(loc="upper left", fontsize=8)
    figure.tight_layout()
    return png(figure)


def _reliability(axes: Axes, bins: list[ReliabilityBin]) -> None:
    filled = [each for each in bins if each.count]
    width = 0.95 * (bins[0].upper - bins[0].lower)
    middles = [(each.lower + each.upper) / 2 for each in filled]
    axes.bar(middles, [each.accuracy for each in filled], width=width, color=BLUE, label="share that is right")
    confidences, accuracies = [each.confidence for each in filled], [each.accuracy for each in filled]
    axes.plot(confidences, accuracies, "o", ms=4, color=ORANGE, label="at the bin's mean confidence")
    axes.plot((0, 1), (0, 1), "--", color="black", linewidth=1, label="as sure as right")


def coverage_curve(card: Scorecard) -> bytes:
    """Accuracy of the most confident rows against the share of rows answered."""
    figure = Figure(figsize=(6.5, 4.2))
    axes = figure.subplots()
    curve = card.coverage
    axes.plot(curve.coverage, curve.accuracy, color=BLUE)
    for share in COVERAGES:
        accuracy, threshold = curve.at(share)
        axes.plot(share, accuracy, "o", color=ORANGE)
        axes.annotate(
            f"{accuracy:.1%} at {share:.0%}\n(confidence from {threshold:.2f})",
            (share, accuracy),
            xytext=(-6, -6),
            textcoords="offset points",
            ha="right",
            va="top",
            fontsize=8,
        )
    axes.axhline(card.accuracy, color=GREY, linestyle="--", linewidth=1)
    # The first rows swing between 0 and 1; the scale is for the rest.
    settled = curve.accuracy[len(curve.accuracy) // 20 :]
    axes.set(
        xlabel="coverage: share of rows answered, the surest first",
        ylabel="accuracy of those",
        title=f"Risk and coverage, area under the risk {curve.area:.4f}",
        xlim=(0, 1),
        ylim=(max(0.0, float(settled.min()) - 0.05), min(1.02, float(settled.max()) + 0.08)),
    )
    axes.grid(alpha=0.3)
    return png(figure)


def class_bars(card: Scorecard) -> bytes:
    """Precision, recall and F1 of every class."""
    figure = Figure(figsize=(max(6.5, 1.2 * len(card.classes)), 4.2))
    axes = figure.subplots()
    places = np.arange(len(card.classes))
    scores = card.per_class
    for step, (name, values, colour) in enumerate(
        (("precision", scores.precision, BLUE), ("recall", scores.recall, ORANGE), ("F1", scores.f1, GREEN))
    ):
        bars = axes.bar(places + 0.27 * (step - 1), values, width=0.25, color=colour, label=name)
        axes.bar_label(bars, fmt="%.2f", fontsize=7, rotation=90, padding=2)
    axes.axhline(card.macro_f1, color=GREY, linestyle="--", linewidth=1, label=f"macro-F1 {card.macro_f1:.3f}")
    names = [f"{name}\n{count} rows" for name, count in zip(card.classes, scores.support, strict=True)]
    axes.set_xticks(places, names)
    axes.set(ylim=(0, 1.18), title="Scores of each class")
    axes.legend(ncols=4, fontsize=8, loc="upper center")
    return png(figure)


def confused_pairs(card: Scorecard) -> bytes:
    """The most confused pairs, rows and share of the true class."""
    pairs = card.confusions[::-1]
    figure = Figure(figsize=(7.5, 0.7 + 0.36 * max(1, len(pairs))))
    axes = figure.subplots()
    names = [f"{card.classes[each.true]} taken for {card.classes[each.predicted]}" for each in pairs]
    bars = axes.barh(names, [each.rows for each in pairs], color=BLUE)
    axes.bar_label(bars, [f" {each.rows} rows, {each.share:.0%}" for each in pairs], fontsize=8)
    axes.margins(x=0.22)
    axes.set(xlabel="rows; share of the true class", title="Most confused pairs" if pairs else "No row is wrong")
    return png(figure)


def mistakes_sheet(
    card: Scorecard, images: NDArray[np.uint8], origins: tuple[str, ...] = (), count: int = 40, columns: int = 8
) -> bytes:
    """The most confident mistakes: picture, truth, prediction, confidence, and where it came from.

    images: (N, H, W) uint8 grey, row for row the card's; origins: (N,) or empty.
    """
    rows = card.worst_first[:count]
    height = max(1, -(-len(rows) // columns))
    figure = Figure(figsize=(1.65 * columns, 2.15 * height))
    grid = figure.subplots(height, columns, squeeze=False)
    for place, axes in enumerate(grid.flat):
        axes.axis("off")
        if place >= len(rows):
            continue
        row = rows[place]
        axes.imshow(images[row], cmap="gray", vmin=0, vmax=255)
        truth, guess = card.classes[card.labels[row]], card.classes[card.predicted[row]]
        where = f"\n{_shortened(origins[row])}" if origins else ""
        axes.set_title(f"{truth} → {guess}\n{card.confidence[row]:.0%} sure{where}", fontsize=8)
    if not len(rows):
        grid[0, 0].set_title("no mistakes")
    figure.tight_layout(w_pad=0.3, h_pad=0.6)
    return png(figure)


def points_of_runs(names: list[str], values: list[float], title: str, label: str) -> bytes:
    """One point a run, such as a fold, with mean and standard deviation behind them."""
    figure = Figure(figsize=(max(5.0, 0.8 * len(names)), 3.6))
    axes = figure.subplots()
    mean, spread = float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    axes.axhline(mean, color=ORANGE, label=f"mean {mean:.2%}")
    axes.axhspan(mean - spread, mean + spread, color=ORANGE, alpha=0.15, label=f"± {spread:.2%}")
    axes.plot(names, values, "o", color=BLUE)
    for place, value in enumerate(values):
        axes.annotate(
            f"{value:.1%}", (place, value), xytext=(0, 6), textcoords="offset points", ha="center", fontsize=8
        )
    axes.margins(x=0.1, y=0.25)
    axes.set(title=title, ylabel=label)
    axes.grid(axis="y", alpha=0.3)
    axes.legend(fontsize=8, ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.12), frameon=False)
    return png(figure)


def _name_ticks(axes: Axes, names: tuple[str, ...]) -> None:
    places = range(len(names))
    axes.set_xticks(places, names, rotation=35, ha="right")
    axes.set_yticks(places, names)


def _shortened(text: str, length: int = 22) -> str:
    return text if len(text) <= length else f"...{text[3 - length :]}"
