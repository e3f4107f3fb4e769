"""Golden inputs: pictures whose right answer is known, to tell a working runtime from one that lies.

``golden.json`` of a bundle::

    {"schema": "emotion-edge/golden/1",
     "cases": [{"input": base64 of H*W uint8 grey levels, row by row, "output": [int8, ...]}, ...],
     "tolerance_steps": {"ai-edge-litert": 1, "tflite-runtime": 12, "edgetpu": 16}}

Several cases with different answers: one alone would be passed by an accelerator that always says the same.
"""

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge.bundle import Bundle
from edge.card import Fields, parse_object
from edge.interfaces import TensorModel
from edge.runtimes.quantization import grey_table, quantize_grey

GOLDEN_SCHEMA = "emotion-edge/golden/1"


@dataclass(frozen=True, slots=True)
class GoldenCase:
    """An input tensor, the outputs it must give, and by how many steps of the output each value may differ."""

    tensor: NDArray[np.generic]
    outputs: tuple[NDArray[np.generic], ...]
    tolerance_steps: float


def complaint(case: GoldenCase, outputs: Sequence[NDArray[np.generic]]) -> str | None:
    """What is wrong with ``outputs`` as an answer to ``case``; None where they are right."""
    if [(o.shape, o.dtype) for o in outputs] != [(o.shape, o.dtype) for o in case.outputs]:
        return f"gave outputs of shapes {[o.shape for o in outputs]}, expected {[o.shape for o in case.outputs]}"
    pairs = zip(outputs, case.outputs, strict=True)
    worst = max(float(np.abs(got.astype(np.float64) - right.astype(np.float64)).max()) for got, right in pairs)
    # Written so that NaN is a complaint too.
    if not worst <= case.tolerance_steps:
        return f"is {worst:g} steps off on a golden input where {case.tolerance_steps:g} are allowed"
    return None


def check_golden(model: TensorModel, cases: Sequence[GoldenCase]) -> str | None:
    """Run every case; the first complaint, or None. Raises RuntimeUnavailableError where the model fails."""
    answers = (complaint(case, model.invoke(case.tensor)) for case in cases)
    return next((answer for answer in answers if answer), None)


def load_golden(bundle: Bundle, runtime: str) -> tuple[GoldenCase, ...]:
    """The bundle's golden cases with the tolerance for ``runtime`` (``edgetpu`` or the name of a CPU runtime).

    Raises BundleError where the bundle has none, or they do not fit its input and output.
    """
    tolerance, cases = golden_fields(bundle.read("golden"), bundle.path("golden"), GOLDEN_SCHEMA, runtime)
    table = grey_table(bundle.input)
    return tuple(_case(case, bundle, table, tolerance) for case in cases)


def golden_fields(text: bytes, file: Path, schema: str, runtime: str) -> tuple[float, list[Fields]]:
    """The tolerance for ``runtime`` and the fields of each case in a golden document. Raises BundleError."""
    fields = parse_object(text, file)
    fields.choice("schema", schema)
    tolerance = fields.object("tolerance_steps").number(runtime)
    cases = fields.items("cases")
    if not cases or not all(isinstance(case, dict) for case in cases):
        fields.refuse("cases", "a list of one case or more")
    return tolerance, [Fields(case, fields.file, f"cases[{index}]") for index, case in enumerate(cases)]


def golden_json(
    crops: Sequence[NDArray[np.uint8]], outputs: Sequence[NDArray[np.int8]], tolerance_steps: Mapping[str, float]
) -> str:
    """The text of ``golden.json``. crops: each (H, W) uint8 grey; outputs: each (C,) or (1, C) int8, their answers."""
    cases = [
        {"input": base64.b64encode(crop.tobytes()).decode("ascii"), "output": [int(v) for v in output.reshape(-1)]}
        for crop, output in zip(crops, outputs, strict=True)
    ]
    return (
        json.dumps({"schema": GOLDEN_SCHEMA, "tolerance_steps": dict(tolerance_steps), "cases": cases}, indent=1) + "\n"
    )


def _case(fields: Fields, bundle: Bundle, table: NDArray[np.generic], tolerance: float) -> GoldenCase:
    _, height, width, _ = bundle.input.shape
    expected = f"base64 of {height} x {width} grey levels"
    try:
        pixels = base64.b64decode(fields.text("input"), validate=True)
    except (binascii.Error, ValueError):
        fields.refuse("input", expected)
    if len(pixels) != height * width:
        fields.refuse("input", f"{expected}, {height * width} bytes")
    output = fields.items("output")
    if len(output) != bundle.output.shape[1] or not all(type(v) is int and -128 <= v <= 127 for v in output):
        fields.refuse("output", f"{bundle.output.shape[1]} whole numbers from -128 to 127")
    crop = np.frombuffer(pixels, dtype=np.uint8).reshape(height, width)
    right = np.array(output, dtype=np.int8).reshape(bundle.output.shape)
    return GoldenCase(quantize_grey(crop, table), (right,), tolerance)
