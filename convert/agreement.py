"""Does the int8 file say what the float network says? Measured on real crops, on every runtime it will meet."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convert.runner import run_model, run_model_in
from edge.errors import ConversionError
from edge.records import TensorSpec
from edge.runtimes.quantization import dequantize
from train.metrics import accuracy, class_scores, confusion_matrix

MAX_DROP_POINTS = 1.0
"""More accuracy than this lost to quantization is not shipped unless it is asked for by name."""
EXPLAIN_DROP_POINTS = 0.5
"""From here on the loss is looked into layer by layer (convert/layers.py)."""

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Agreement:
    """Float network against int8 file on one runtime; shares are 0..1, points are percent."""

    runtime: str
    split: str
    rows: int
    float_accuracy: float
    int8_accuracy: float
    drop_points: float
    """Accuracy lost to quantization, in percentage points; negative where int8 is better."""
    top1_agreement: float
    worst_class: str
    """The class whose recall changes most."""
    worst_class_recall_change_points: float
    steps_mean: float
    """|int8 - float| of the outputs, in steps of the int8 output scale (steps of a value clipped at 127 included)."""
    steps_99: float
    steps_max: float
    steps_max_from_first_runtime: int
    """int8 against int8 of the first runtime measured: what a golden output must tolerate."""

    def as_dict(self) -> dict[str, Any]:
        return {key: round(value, 6) if isinstance(value, float) else value for key, value in asdict(self).items()}


@dataclass(frozen=True, slots=True)
class Outputs:
    """What an int8 file gave: steps, and the logits they stand for."""

    runtime: str
    steps: NDArray[np.int8]
    """(N, C)."""
    logits: NDArray[np.float32]
    """(N, C)."""


def int8_outputs(
    int8: bytes, output: TensorSpec, images: NDArray[np.uint8], also: list[Path], say: Say
) -> list[Outputs]:
    """The int8 file over (N, H, W) uint8 pictures, in this runtime and in each interpreter of ``also``."""
    measured = []
    for python in (None, *also):
        say(f"int8 over {len(images):,} pictures in {python or 'this interpreter'}")
        steps, runtime = run_model_in(python, int8, images) if python else run_model(int8, images)
        measured.append(Outputs(runtime, np.asarray(steps, np.int8), dequantize(steps, output)))
    return measured


def compare(
    reference: NDArray[np.float32],
    measured: list[Outputs],
    labels: NDArray[np.int64],
    classes: tuple[str, ...],
    split: str,
    scale: float,
) -> list[Agreement]:
    """One Agreement a runtime. reference: (N, C) float logits of the same pictures; scale: of the int8 output."""
    truth = confusion_matrix(labels, reference.argmax(axis=1), len(classes))
    float_accuracy, float_recall = accuracy(truth), class_scores(truth).recall
    result = []
    for each in measured:
        predicted = each.logits.argmax(axis=1)
        confusion = confusion_matrix(labels, predicted, len(classes))
        change = class_scores(confusion).recall - float_recall
        worst = int(np.abs(change).argmax())
        steps = np.abs(each.logits - reference) / scale
        result.append(
            Agreement(
                runtime=each.runtime,
                split=split,
                rows=len(labels),
                float_accuracy=float_accuracy,
                int8_accuracy=accuracy(confusion),
                drop_points=100 * (float_accuracy - accuracy(confusion)),
                top1_agreement=float((predicted == reference.argmax(axis=1)).mean()),
                worst_class=classes[worst],
                worst_class_recall_change_points=100 * float(change[worst]),
                steps_mean=float(steps.mean()),
                steps_99=float(np.percentile(steps, 99)),
                steps_max=float(steps.max()),
                steps_max_from_first_runtime=int(
                    np.abs(each.steps.astype(np.int16) - measured[0].steps.astype(np.int16)).max()
                ),
            )
        )
    return result


def require_agreement(agreements: list[Agreement], accept_drop: bool) -> None:
    """Raise ConversionError, with the numbers, where a runtime loses more than MAX_DROP_POINTS."""
    worst = max(agreements, key=lambda each: each.drop_points)
    if worst.drop_points > MAX_DROP_POINTS and not accept_drop:
        raise ConversionError(
            f"int8 loses {worst.drop_points:.2f} points of accuracy on {worst.rows} {worst.split} rows "
            f"({100 * worst.float_accuracy:.2f} % float, {100 * worst.int8_accuracy:.2f} % int8, {worst.runtime}); at "
            f"most {MAX_DROP_POINTS:.2f} is shipped: mend the layer python -m convert names, or say --accept-drop"
        )


def table(agreements: list[Agreement]) -> str:
    """The agreements as text, one column a runtime."""
    rows = [
        ("split (rows)", [f"{a.split} ({a.rows})" for a in agreements]),
        ("accuracy float", [f"{100 * a.float_accuracy:.2f} %" for a in agreements]),
        ("accuracy int8", [f"{100 * a.int8_accuracy:.2f} %" for a in agreements]),
        ("drop", [f"{a.drop_points:+.2f} points" for a in agreements]),
        ("top-1 agreement", [f"{100 * a.top1_agreement:.2f} %" for a in agreements]),
        (
            "worst recall change",
            [f"{a.worst_class} {a.worst_class_recall_change_points:+.2f} points" for a in agreements],
        ),
        (
            "output difference",
            [f"mean {a.steps_mean:.2f}, 99 % {a.steps_99:.1f}, max {a.steps_max:.1f} steps" for a in agreements],
        ),
        ("from first runtime", [f"max {a.steps_max_from_first_runtime} steps" for a in agreements]),
    ]
    columns = [("runtime", [a.runtime for a in agreements]), *rows]
    width = max(len(cell) for _, cells in columns for cell in cells)
    return "\n".join(
        f"{name:<20}" + "".join(f"  {cell:<{width}}" for cell in cells).rstrip() for name, cells in columns
    )
