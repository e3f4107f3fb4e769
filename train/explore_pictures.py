"""The pictures of ``train explore``; each function returns the bytes of a PNG."""

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from train.dataset import TRAIN, Dataset
from train.pictures import BLUE, GREEN, ORANGE, png

SAMPLES = 14
"""Pictures of each class in the sheet of samples."""


def class_counts(counts: dict[str, NDArray[np.int64]], classes: tuple[str, ...]) -> bytes:
    """Bars: rows of each class, one colour a split."""
    figure = Figure(figsize=(max(6.5, 1.3 * len(classes)), 4.0))
    axes = figure.subplots()
    places, width = np.arange(len(classes)), 0.86 / max(1, len(counts))
    for step, ((split, values), colour) in enumerate(zip(counts.items(), (BLUE, ORANGE, GREEN), strict=False)):
        bars = axes.bar(places + width * (step - (len(counts) - 1) / 2), values, width, color=colour, label=split)
        axes.bar_label(bars, fontsize=7)
    axes.set_xticks(places, classes)
    axes.set(ylabel="rows", title="Rows of each class")
    axes.margins(y=0.12)
    axes.legend()
    return png(figure)


def sheet(data: Dataset, rows: NDArray[np.int64]) -> bytes:
    """Pictures with their class, split and origin, up to eight in a row. rows: indices, one or more."""
    columns = min(8, len(rows))
    height = -(-len(rows) // columns)
    figure = Figure(figsize=(1.35 * columns, 1.75 * height))
    for axes in (grid := figure.subplots(height, columns, squeeze=False)).flat:
        axes.axis("off")
    for axes, row in zip(grid.flat, rows, strict=False):
        axes.imshow(data.images[row], cmap="gray", vmin=0, vmax=255)
        where = f"\n{_tail(data.origins[row])}" if data.origins else ""
        axes.set_title(f"{data.classes[data.labels[row]]}, {data.splits[row]}{where}", fontsize=7)
    # By hand: tight_layout measures every title twice and takes most of the report's time.
    figure.subplots_adjust(left=0, right=1, bottom=0, top=1, wspace=0.04, hspace=0.32)
    return png(figure)


def samples(data: Dataset, generator: np.random.Generator) -> bytes:
    """One line a class, SAMPLES pictures of it at random."""
    side = data.images.shape[1]
    gap = max(1, side // 24)
    step = side + gap
    canvas = np.full((len(data.classes) * step - gap, SAMPLES * step - gap), 255, dtype=np.uint8)
    for line in range(len(data.classes)):
        rows = np.flatnonzero((data.labels == line) & (data.splits == TRAIN))
        if not len(rows):
            rows = np.flatnonzero(data.labels == line)
        chosen = generator.choice(rows, size=min(SAMPLES, len(rows)), replace=False) if len(rows) else rows
        for column, row in enumerate(chosen):
            canvas[line * step : line * step + side, column * step : column * step + side] = data.images[row]
    figure = Figure(figsize=(11, 11 * len(data.classes) / SAMPLES))
    axes = figure.subplots()
    axes.imshow(canvas, cmap="gray", vmin=0, vmax=255)
    axes.set_xticks([])
    axes.set_yticks([line * step + side / 2 for line in range(len(data.classes))], data.classes)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return png(figure)


def mean_faces(data: Dataset) -> bytes:
    """The mean picture of all and of each class, and each class's difference from the mean of all."""
    overall = data.images.mean(axis=0)
    means = [_mean(data.images[data.labels == index]) for index in range(len(data.classes))]
    differences = [None if mean is None else mean - overall for mean in means]
    reach = max((float(np.abs(each).max()) for each in differences if each is not None), default=1.0) or 1.0
    figure = Figure(figsize=(1.5 * (len(means) + 1), 3.6))
    grid = figure.subplots(2, len(means) + 1, squeeze=False)
    for axes in grid.flat:
        axes.axis("off")
    grid[0, 0].imshow(overall, cmap="gray", vmin=0, vmax=255)
    grid[0, 0].set_title("all", fontsize=9)
    for column, (name, mean, difference) in enumerate(zip(data.classes, means, differences, strict=True), 1):
        grid[0, column].set_title(name if mean is not None else f"{name}: none", fontsize=9)
        if mean is not None:
            grid[0, column].imshow(mean, cmap="gray", vmin=0, vmax=255)
            grid[1, column].imshow(difference, cmap="RdBu_r", vmin=-reach, vmax=reach)
    grid[1, 0].text(0.5, 0.5, f"minus all\n(±{reach:.0f} levels)", ha="center", va="center", fontsize=9)
    figure.tight_layout(w_pad=0.3, h_pad=0.3)
    return png(figure)


def levels(brightness: NDArray[np.float64], contrast: NDArray[np.float64], data: Dataset) -> bytes:
    """Box plots of each class: mean grey level, and its standard deviation."""
    there = [index for index in range(len(data.classes)) if (data.labels == index).any()]
    figure = Figure(figsize=(max(8.0, 1.5 * len(there)), 3.8))
    panels = figure.subplots(1, 2)
    for axes, values, title in zip(panels, (brightness, contrast), ("brightness", "contrast"), strict=True):
        boxes = [values[data.labels == index] for index in there]
        axes.boxplot(boxes, orientation="horizontal", flierprops={"markersize": 2, "alpha": 0.3})
        axes.set_yticks(range(1, len(there) + 1), [data.classes[index] for index in there])
        axes.invert_yaxis()
        axes.set(title=title, xlabel="mean grey level" if title == "brightness" else "standard deviation, grey levels")
        axes.grid(alpha=0.3, axis="x")
    figure.tight_layout()
    return png(figure)


def agreement(matrix: NDArray[np.int64], classes: tuple[str, ...]) -> bytes:
    """Shares of each label's rows by FER+'s most-voted class, with the counts below."""
    sums = matrix.sum(axis=1, keepdims=True)
    shares = np.divide(matrix, sums, out=np.zeros(matrix.shape), where=sums > 0)
    side = max(4.0, 0.95 * len(classes))
    figure = Figure(figsize=(side + 1.2, side))
    axes = figure.subplots()
    drawn = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), share in np.ndenumerate(shares):
        colour = "white" if share > 0.55 else "black"
        text = f"{share:.0%}\n{matrix[row, column]}"
        axes.text(column, row, text, ha="center", va="center", fontsize=9, color=colour)
    axes.set_xticks(range(len(classes)), classes, rotation=35, ha="right")
    axes.set_yticks(range(len(classes)), classes)
    axes.set(xlabel="FER+ most-voted class", ylabel="label")
    figure.colorbar(drawn, ax=axes, label="share of the label's rows", fraction=0.046, pad=0.04)
    return png(figure)


def _mean(images: NDArray[np.uint8]) -> NDArray[np.float64] | None:
    return images.mean(axis=0) if len(images) else None


def _tail(text: str, length: int = 18) -> str:
    return text if len(text) <= length else f"...{text[3 - length :]}"
