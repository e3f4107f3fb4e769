"""``train evaluate`` on a network that is trained here, on the tiny bundle, and on real rows where they are."""

import argparse
import base64
import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edge.calibration import Calibration, calibrated
from edge.errors import DataError, EdgeError, RunError, UsageError
from tests.devdata import ROOT
from tests.train import shapes
from tests.train.conftest import FerFiles
from train import evaluate
from train.calibration import expected_calibration_error
from train.data import TEST, VALIDATION, read_dataset
from train.fit import fit
from train.predict import predict_logits
from train.recipe import make_recipe

TINY7, TINY3 = ROOT / "tests/golden/tiny7", ROOT / "tests/golden/tiny3"


class Trained:
    """A run folder and its data."""

    def __init__(self, folder: Path) -> None:
        self.run = folder / "run"
        self.data = shapes.write_folder(folder / "data", shapes.dataset())
        fit(make_recipe(shapes.RECIPE), shapes.dataset(), self.run)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return Trained(tmp_path_factory.mktemp("trained"))


def run_evaluate(*arguments: object) -> int:
    parser = argparse.ArgumentParser()
    evaluate.add_arguments(parser)
    return evaluate.run(parser.parse_args([str(each) for each in arguments]))


def read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    return found


class Page(HTMLParser):
    """The pictures of a page and everything it would fetch."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.pictures: list[Any] = []
        self.fetched: list[str] = []
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag != "script"
        for name, value in attrs:
            if name == "src" and value and value.startswith("data:image/png;base64,"):
                data = np.frombuffer(base64.b64decode(value.split(",", 1)[1]), dtype=np.uint8)
                self.pictures.append(cv2.imdecode(data, cv2.IMREAD_COLOR))
            elif name in ("src", "href") and value:
                self.fetched.append(value)


def test_a_trained_run_is_scored_calibrated_and_reported(trained: Trained, tmp_path: Path, capsys: Any) -> None:
    assert run_evaluate("--run", trained.run, "--data", trained.data, "--out", tmp_path) == 0
    rows = read_dataset(trained.data, size=shapes.SIDE).subset(VALIDATION)
    logits = predict_logits(trained.run / "best.keras", rows.images)
    accuracy = float((logits.argmax(axis=1) == rows.labels).mean())

    metrics = read(tmp_path / "metrics.json")
    assert metrics["accuracy"] == pytest.approx(accuracy)
    assert metrics["rows"] == len(rows) == 48
    assert accuracy > 0.6  # the network did learn, so the report is about something
    confusion = np.array(metrics["confusion"])
    assert confusion.sum() == 48
    for index, name in enumerate(shapes.CLASSES):
        assert metrics["per_class"][name]["recall"] == pytest.approx(confusion[index, index] / 16)
    assert metrics["ferplus_agreement"] is None
    assert 0 <= metrics["flip_averaged_accuracy"] <= 1

    calibration = read(tmp_path / "calibration.json")
    after = calibrated(logits, Calibration(calibration["temperature"], calibration["smoothing"]))
    found = metrics["calibration"]
    assert found["ece_after"] == pytest.approx(expected_calibration_error(after, rows.labels))
    assert found["nll_after"] <= found["nll_temperature_alone"] <= found["nll_before"]
    assert found["nll_after"] <= found["nll_crossvalidated"]  # the rows of the fit flatter it
    said = capsys.readouterr().out
    text = (tmp_path / "report.html").read_text()
    for line in ("uncalibrated", " alone", "cross-validated, 5 folds", f"{found['ece_crossvalidated']:.4f}"):
        assert line in said and line in text

    page = Page(tmp_path / "report.html")
    assert len(page.pictures) == 6
    assert all(picture is not None and picture.std() > 5 for picture in page.pictures)
    assert page.fetched == []
    assert f"{accuracy:.2%}" in text
    assert f"accuracy {accuracy:.2%} of 48 rows" in said


def test_each_look_at_validation_is_logged_and_test_is_not_one(trained: Trained) -> None:
    log = trained.run / "run.log"
    before = log.read_text().splitlines()
    fits = read(trained.run / "metrics.json")
    for _ in range(2):
        run_evaluate("--run", trained.run, "--data", trained.data, "--no-flip")
    run_evaluate("--run", trained.run, "--data", trained.data, "--split", "test", "--no-flip")
    new = log.read_text().splitlines()[len(before) :]
    assert len(new) == 2
    accuracy = read(trained.run / "evaluation/metrics.json")["accuracy"]
    assert all(re.fullmatch(rf"\S+Z validation evaluate best\.keras .*{accuracy:.4f}", line) for line in new)
    assert read(trained.run / "metrics.json") == fits  # fit's own figures stay


def test_other_splits_use_the_stored_calibration(trained: Trained) -> None:
    run_evaluate("--run", trained.run, "--data", trained.data)
    run_evaluate("--run", trained.run, "--data", trained.data, "--split", "test")
    path = trained.run / "evaluation/calibration.json"
    stored = read(path)
    calibration = Calibration(stored["temperature"], stored["smoothing"])
    found = read(trained.run / "evaluation/test/metrics.json")
    assert (found["calibration"]["temperature"], found["calibration"]["smoothing"]) == (
        calibration.temperature,
        calibration.smoothing,
    )
    assert "calibration.json" in found["calibration"]["note"]
    assert "ece_crossvalidated" not in found["calibration"]  # nothing was fitted on these rows
    assert not (trained.run / "evaluation/test/calibration.json").exists()
    rows = read_dataset(trained.data, size=shapes.SIDE).subset(TEST)
    logits = predict_logits(trained.run / "best.keras", rows.images)
    expected = expected_calibration_error(calibrated(logits, calibration), rows.labels)
    assert found["calibration"]["ece_after"] == pytest.approx(expected)

    del stored["smoothing"]  # as it was written before smoothing was fitted
    path.write_text(json.dumps(stored))
    run_evaluate("--run", trained.run, "--data", trained.data, "--split", "test", "--no-flip")
    found = read(trained.run / "evaluation/test/metrics.json")
    assert (found["calibration"]["temperature"], found["calibration"]["smoothing"]) == (calibration.temperature, 0)
    for spoiled in ({**stored, "temperature": 0}, {**stored, "smoothing": 1}, {**stored, "smoothing": "x"}, [stored]):
        path.write_text(json.dumps(spoiled))
        with pytest.raises(RunError, match=r"calibration\.json can't be read") as caught:
            run_evaluate("--run", trained.run, "--data", trained.data, "--split", "test", "--no-flip")
        assert "\n" not in str(caught.value)
    path.unlink()


def test_a_calibration_of_another_network_is_not_used(trained: Trained, tmp_path: Path) -> None:
    stale = {"temperature": 9.0, "model": {"sha256": "0" * 64}}
    (tmp_path / "calibration.json").write_text(json.dumps(stale))
    lone = tmp_path / "copy.keras"
    shutil.copy(trained.run / "best.keras", lone)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        run_evaluate("--model", lone, "--data", trained.data, "--split", "test", "--out", tmp_path, "--no-flip")
    found = read(tmp_path / "metrics.json")["calibration"]
    assert (found["temperature"], found["smoothing"]) == (1.0, 0.0)
    assert "not calibrated" in found["note"]


def test_the_train_split_can_be_scored_too(trained: Trained, tmp_path: Path) -> None:
    run_evaluate("--run", trained.run, "--data", trained.data, "--split", "train", "--out", tmp_path, "--no-flip")
    assert read(tmp_path / "metrics.json")["rows"] == 120


def test_labels_in_another_order_do_not_change_the_score(trained: Trained, tmp_path: Path) -> None:
    """The data's classes are put in the network's order."""
    run = tmp_path / "run"
    shutil.copytree(trained.run, run)
    recipe = read(run / "recipe.json")
    run_evaluate("--run", run, "--data", trained.data, "--out", tmp_path / "a", "--no-flip")
    recipe["classes"] = ["happy", "angry", "sad"]
    (run / "recipe.json").write_text(json.dumps(recipe))
    run_evaluate("--run", run, "--data", trained.data, "--out", tmp_path / "b", "--no-flip")
    straight, swapped = (np.array(read(tmp_path / name / "metrics.json")["confusion"]) for name in "ab")
    np.testing.assert_array_equal(swapped, straight[[1, 0, 2]])


def without_split(trained: Trained, folder: Path, split: str) -> Path:
    shutil.copytree(trained.data, folder, ignore=shutil.ignore_patterns(split))
    return folder


def test_bad_input_is_said_in_one_line(trained: Trained, tmp_path: Path) -> None:
    data = without_split(trained, tmp_path / "no-test", "test")
    missing = tmp_path / "no-sad-validation"
    shutil.copytree(trained.data, missing)
    shutil.rmtree(missing / "validation/sad")
    two = tmp_path / "two-classes"
    shutil.copytree(trained.data, two, ignore=shutil.ignore_patterns("sad"))
    empty_run = tmp_path / "untrained"
    empty_run.mkdir()
    shutil.copy(trained.run / "recipe.json", empty_run)
    old_run = tmp_path / "old"
    shutil.copytree(trained.run, old_run)
    (old_run / "recipe.json").write_text(json.dumps({**read(old_run / "recipe.json"), "schema": "other/0"}))
    cases: list[tuple[type[EdgeError], str, tuple[object, ...]]] = [
        (DataError, "test", ("--run", trained.run, "--data", data, "--split", "test")),
        (DataError, "sad", ("--run", trained.run, "--data", missing)),
        (DataError, "has no sad", ("--run", trained.run, "--data", two)),
        (DataError, "has no disgust or fear", ("--bundle", TINY7, "--data", trained.data)),
        (RunError, "best.keras", ("--run", empty_run, "--data", trained.data)),
        (RunError, "other/0", ("--run", old_run, "--data", trained.data)),
        (RunError, "recipe.json", ("--run", tmp_path / "absent", "--data", trained.data)),
        (UsageError, "--classes", ("--bundle", TINY7, "--data", trained.data, "--classes", "angry,sad")),
        (DataError, "absent.csv", ("--run", trained.run, "--data", tmp_path / "absent.csv")),
    ]
    for kind, said, arguments in cases:
        with pytest.raises(kind) as caught:
            run_evaluate(*arguments, "--out", tmp_path / "out", "--no-flip")
        assert said in str(caught.value)
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_bundle_of_other_labels_and_size_is_scored_on_its_classes_alone(
    trained: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = read(TINY3 / "card.json")["labels"]
    assert sorted(labels) == sorted(shapes.CLASSES)
    data = tmp_path / "data"
    shutil.copytree(trained.data, data)
    for split in ("train", "validation"):
        shutil.copytree(data / split / "sad", data / split / "neutral")
    assert run_evaluate("--bundle", TINY3, "--data", data, "--out", tmp_path / "out") == 0
    found = read(tmp_path / "out/metrics.json")
    assert found["classes"] == labels
    assert found["rows"] == 48
    assert "class not wanted: neutral" in capsys.readouterr().err


def test_results_that_can_not_be_written_or_logged_are_said(trained: Trained, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(EdgeError, match="could not write") as caught:
        run_evaluate("--bundle", TINY3, "--data", trained.data, "--out", tmp_path / "file", "--no-flip")
    assert "\n" not in str(caught.value)
    run = tmp_path / "run"
    shutil.copytree(trained.run, run)
    (run / "run.log").unlink()
    (run / "run.log").mkdir()
    with pytest.raises(RunError, match=r"run\.log"):
        run_evaluate("--run", run, "--data", trained.data, "--no-flip")


def test_a_lone_file_needs_as_many_labels_as_outputs(trained: Trained, tmp_path: Path) -> None:
    lone = tmp_path / "lone.keras"
    shutil.copy(trained.run / "best.keras", lone)
    arguments = ("--model", lone, "--data", trained.data, "--out", tmp_path / "out", "--no-flip")
    assert run_evaluate(*arguments) == 0
    with pytest.raises(UsageError, match="3 labels"):
        run_evaluate(*arguments, "--classes", "angry,sad")


def test_the_bundle_that_ships_is_scored_on_real_rows(fer_files: FerFiles, tmp_path: Path) -> None:
    """The whole of PublicTest through the command line, as a user would; every figure against the device's own."""
    command = [sys.executable, "-m", "train", "evaluate", "--bundle", str(TINY7), "--data", str(fer_files.csv)]
    command += ["--ferplus", str(fer_files.ferplus), "--out", str(tmp_path), "--no-flip"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    found = read(tmp_path / "metrics.json")
    assert found["rows"] == 3589
    assert [found["per_class"][name]["support"] for name in found["classes"]] == [467, 56, 496, 895, 653, 415, 607]
    of_card = found["calibration"]["card"]
    assert (of_card["temperature"], of_card["smoothing"]) == (read(TINY7 / "card.json")["temperature"], 0)
    assert found["ferplus_agreement"]["rows"] > 2500
    assert len(Page(tmp_path / "report.html").pictures) == 6
    absent = subprocess.run(
        [*command, "--split", "test"], cwd=ROOT, capture_output=True, text=True, timeout=240, check=False
    )
    assert absent.returncode == 1
    assert "test split" in absent.stderr
    assert "Traceback" not in absent.stderr


def write_private_test(folder: Path, ferplus: bool) -> list[str]:
    """A fer2013.csv, and its fer2013new.csv, of PrivateTest rows alone: three of each class. Returns arguments."""
    random = np.random.default_rng(4)
    labels = [label for label in range(7) for _ in range(3)]
    rows = [f'{label},"{" ".join(map(str, random.integers(0, 256, 2304)))}",PrivateTest' for label in labels]
    (folder / "fer2013.csv").write_text("emotion,pixels,Usage\n" + "\n".join(rows) + "\n")
    if not ferplus:
        return ["--data", str(folder / "fer2013.csv")]
    # FER+'s columns: neutral, happiness, surprise, sadness, anger, disgust, fear, contempt, unknown, NF.
    column = [4, 5, 6, 1, 3, 2, 0]
    votes = [[8 if place == column[label] else 2 if place == 8 else 0 for place in range(10)] for label in labels]
    head = "Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF"
    lines = [f"PrivateTest,fer{number:07d}.png,{','.join(map(str, each))}" for number, each in enumerate(votes)]
    (folder / "fer2013new.csv").write_text("\n".join([head, *lines]) + "\n")
    return ["--data", str(folder / "fer2013.csv"), "--ferplus", str(folder / "fer2013new.csv")]


@pytest.mark.parametrize("ferplus", [True, False])
def test_rows_of_private_test_alone_are_scored_with_the_cards_calibration(tmp_path: Path, ferplus: bool) -> None:
    data = write_private_test(tmp_path, ferplus)
    assert run_evaluate("--bundle", TINY7, *data, "--split", "test", "--out", tmp_path / "out") == 0
    found = read(tmp_path / "out/metrics.json")
    assert found["rows"] == 21
    assert found["calibration"]["temperature"] == read(TINY7 / "card.json")["temperature"]
    assert not (tmp_path / "out/calibration.json").exists()
    if ferplus:  # every row's majority is its label, so both scores are one
        assert found["ferplus_agreement"] == {"agreement": found["accuracy"], "rows": 21}
    with pytest.raises(DataError, match="only test"):
        run_evaluate("--bundle", TINY7, *data, "--out", tmp_path / "out")


def test_a_bundle_is_scored_without_keras() -> None:
    """Whoever only looks at the file that ships does not wait for TensorFlow."""
    program = (
        "import sys, train.evaluate; sys.exit(any(name in sys.modules for name in ('keras', 'tensorflow', 'jax')))"
    )
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT, timeout=120, check=False).returncode == 0
