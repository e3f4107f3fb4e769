"""A run's curves as a picture."""

from collections.abc import Sequence
from pathlib import Path

from train.checkpoint import replace_file


def draw_curves(history: Sequence[dict[str, float]], path: Path) -> None:
    """Loss, accuracy and learning rate over epochs, as a PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    epochs = [row["epoch"] for row in history]
    panels = (
        ("loss", ("loss", "val_loss")),
        ("accuracy", ("accuracy", "val_accuracy", "val_macro_f1")),
        ("learning rate", ("learning_rate",)),
    )
    figure, axes = pyplot.subplots(1, len(panels), figsize=(13, 3.6), layout="constrained")
    for axis, (title, keys) in zip(axes, panels, strict=True):
        for key in keys:
            axis.plot(epochs, [row[key] for row in history], label=key.replace("val_", "validation "))
        axis.set(title=title, xlabel="epoch")
        axis.grid(alpha=0.3)
        axis.legend()
    replace_file(path, lambda part: figure.savefig(part, dpi=110))
    pyplot.close(figure)
