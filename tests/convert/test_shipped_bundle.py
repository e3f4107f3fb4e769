"""The committed bundle: whole, small, mapped, as accurate as its card says, and as sure as it is right."""

import importlib.util
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from convert.__main__ import main
from convert.edgetpu_check import check_bytes
from convert.runner import run_model
from edge.bundle import Bundle, load_bundle
from edge.calibration import calibrated
from edge.runtimes.quantization import dequantize
from tests.devdata import fer2013
from train.calibration import crossvalidated, expected_calibration_error
from train.data import FER_CLASSES

EMOTION = Path(__file__).resolve().parents[2] / "models" / "emotion"


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    if not (EMOTION / "card.json").exists():
        pytest.skip("models/emotion is not there yet; make it with python -m convert")
    return load_bundle(EMOTION)


def test_it_verifies(bundle: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(EMOTION)]) == 0
    assert "verified" in capsys.readouterr().out


def test_it_is_small_and_maps_whole(bundle: Bundle) -> None:
    assert bundle.labels == FER_CLASSES
    assert bundle.files["int8"].bytes <= 1_000_000
    assert bundle.card["network"]["parameters"] < 1_000_000
    assert check_bytes(bundle.read("int8"), "emotion").ok
    assert (bundle.input.scale, bundle.input.zero_point) == (1.0, -128)


def test_card_holds_both_runtimes_and_no_great_loss(bundle: Bundle) -> None:
    runtimes = {each["runtime"].split()[0] for each in bundle.card["agreement"]}
    assert runtimes == {"ai-edge-litert", "tflite-runtime"}
    assert all(each["drop_points"] <= 1 for each in bundle.card["agreement"])


def test_accuracy_on_public_test_is_what_the_card_says(bundle: Bundle) -> None:
    spec = importlib.util.spec_from_file_location("write_csv", fer2013() / "write_csv.py")
    assert spec is not None and spec.loader is not None
    packed: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(packed)
    images, rows = packed.load()
    chosen = np.array([row["Usage"] == "PublicTest" for row in rows])
    labels = np.array([int(row["emotion"]) for row in rows])[chosen]
    steps, runtime = run_model(bundle.read("int8"), images[chosen])
    card = next(each for each in bundle.card["agreement"] if each["runtime"].split()[0] == runtime.split()[0])
    assert len(labels) == card["rows"] == 3589
    # Kernels of another processor may round a few rows the other way.
    assert float((steps.argmax(axis=1) == labels).mean()) == pytest.approx(card["int8_accuracy"], abs=0.003)
    assert card["int8_accuracy"] >= 0.60

    score = next(each for each in bundle.card["scores"] if each["file"] == bundle.files["int8"].path)
    logits = dequantize(steps, bundle.output)
    assert 0 < bundle.calibration.smoothing < 0.2
    errors = [
        expected_calibration_error(calibrated(logits, bundle.calibration), labels),
        expected_calibration_error(crossvalidated(logits, labels), labels),
    ]
    assert max(errors) <= 0.03
    said = [score["expected_calibration_error"], score["expected_calibration_error_crossvalidated"]]
    assert said == pytest.approx(errors, abs=0.005)


def test_card_tells_no_ones_folders(bundle: Bundle) -> None:
    text = (EMOTION / "card.json").read_text()
    assert not re.search(r'"[^"]*(/home/|/tmp/|/root/|/Users/|\.\./)', text)
    assert not [word for word in re.findall(r'"([^"\n]*)"', text) if word.startswith(("/", "~"))]
