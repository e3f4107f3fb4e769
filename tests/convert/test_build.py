"""A run to a bundle that the device takes, whatever the labels and the size; and every way to fail."""

import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from convert.__main__ import main
from convert.quantize import import_frameworks
from edge.bundle import file_sha256, load_bundle
from edge.classifiers.emotion import BundleClassifier
from edge.runtimes.tflite import TfliteModel
from tests.convert.conftest import Made, pictures, small_network, trained, write_csv, write_run
from train.data import FER_CLASSES

ROOT = Path(__file__).resolve().parents[2]
EDGE_PYTHON = ROOT / ".venv-edge" / "bin" / "python"


def convert(capsys: pytest.CaptureFixture[str], *words: str | Path) -> tuple[int, str, str]:
    """The command's exit code, standard output and last line of standard error (its only line, where it refuses)."""
    capsys.readouterr()
    code = main([str(word) for word in words])
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    return code, said.out, (said.err.strip().splitlines() or [""])[-1]


def hashes(folder: Path) -> dict[str, str]:
    return {path.name: file_sha256(path) for path in folder.iterdir()}


def test_the_bundle_is_what_the_device_starts_from(made: Made) -> None:
    bundle = load_bundle(made.bundle)
    assert bundle.labels == FER_CLASSES
    assert (bundle.input.shape, bundle.input.scale, bundle.input.zero_point) == ((1, 48, 48, 1), 1.0, -128)
    assert (bundle.output.shape, bundle.output_kind) == ((1, 7), "logits")
    assert set(bundle.files) == {"int8", "float", "keras", "golden"}
    classifier = BundleClassifier(TfliteModel(bundle.read("int8")), bundle)
    scores = classifier.classify(list(pictures(list(range(7)), 7, 48, seed=99)))
    assert [score.top[0] for score in scores] == list(FER_CLASSES)


def test_card_says_how_it_was_made(made: Made) -> None:
    card = json.loads((made.bundle / "card.json").read_text())
    calibration = card["calibration"]
    assert (calibration["rows"], calibration["split"], calibration["seed"]) == (140, "train", 0)
    assert set(calibration["rows_per_class"].values()) == {20}
    (agreement,) = card["agreement"]
    assert (agreement["split"], agreement["rows"]) == ("validation", 84)
    assert agreement["int8_accuracy"] == card["scores"][1]["accuracy"] > 0.9
    assert 0 < card["temperature"] < 20 and 0 <= card["smoothing"] < 1
    int8 = card["scores"][1]
    for stage in ("", "_before", "_temperature_alone", "_crossvalidated"):
        assert 0 <= int8[f"expected_calibration_error{stage}"] <= 1
    assert card["network"]["run"]["started_from"] == "other.keras"
    assert card["data"]["file"] == "fer2013.csv" and card["data"]["rows"] == {"train": 210, "validation": 84}
    assert "FER-2013" in card["licence"] and "not what a person feels" in card["limits"]
    assert card["edgetpu"]["compiled"] is None and card["edgetpu"]["check"]["maps_whole"]
    assert str(made.run.parent) not in json.dumps(card)
    assert card["versions"]["tensorflow"] and card["versions"]["ai-edge-litert"]


def test_float_network_in_the_bundle_has_no_optimizer(made: Made) -> None:
    with zipfile.ZipFile(made.bundle / "emotion.keras") as archive:
        assert json.loads(archive.read("config.json"))["compile_config"] == {}
    with zipfile.ZipFile(made.run / "best.keras") as archive:
        assert json.loads(archive.read("config.json"))["compile_config"]
    assert (made.bundle / "emotion.keras").stat().st_size < (made.run / "best.keras").stat().st_size


def test_same_run_gives_the_same_network(made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, _ = convert(
        capsys, made.run, "--out", tmp_path / "emotion", "--data", made.data, "--calibration-rows", "140"
    )
    assert code == 0
    # Keras numbers the layers it makes in one process, so the files differ in tensor names and nothing else.
    assert (tmp_path / "emotion" / "golden.json").read_text() == (made.bundle / "golden.json").read_text()
    first, again = (json.loads((each / "card.json").read_text()) for each in (made.bundle, tmp_path / "emotion"))
    for key in ("input", "output", "temperature", "smoothing", "agreement", "calibration"):
        assert again[key] == first[key]


def test_other_labels_and_size_need_no_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    classes = ("happy", "bored", "angry")
    for split, count, seed in (("train", 120, 0), ("validation", 30, 1)):
        labels = [row % 3 for row in range(count)]
        for row, (label, image) in enumerate(zip(labels, pictures(labels, 3, 64, seed), strict=True)):
            folder = tmp_path / "data" / split / classes[label]
            folder.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(folder / f"{row}.png"), image)
    labels = [row % 3 for row in range(120)]
    run = write_run(tmp_path / "run", trained(pictures(labels, 3, 64, 0), labels, 3), classes, 64)
    out = tmp_path / "mood"
    code, printed, said = convert(capsys, run, "--out", out, "--data", tmp_path / "data", "--licence", "my own")
    assert code == 0, said
    assert "mood.int8.tflite" in printed
    bundle = load_bundle(out)
    assert (bundle.name, bundle.labels, bundle.input.shape) == ("mood", classes, (1, 64, 64, 1))
    assert bundle.card["licence"] == "my own"
    scores = BundleClassifier(TfliteModel(bundle.read("int8")), bundle).classify(
        list(pictures([0, 1, 2], 3, 64, seed=99))
    )
    assert [score.top[0] for score in scores] == list(classes)
    assert convert(capsys, "verify", out)[0] == 0
    if EDGE_PYTHON.exists():
        assert on_device(out) == "mood happy bored angry: right"


def on_device(bundle: Path) -> str:
    """The bundle loaded and asked its golden cases by the device's environment and runtime."""
    program = (
        "import sys; from pathlib import Path\n"
        "from edge.bundle import load_bundle\n"
        "from edge.classifiers.emotion import BundleClassifier\n"
        "from edge.runtimes.golden import check_golden, load_golden\n"
        "from edge.runtimes.tflite import TfliteModel, runtime_name\n"
        "bundle = load_bundle(Path(sys.argv[1])); model = TfliteModel(bundle.read('int8'))\n"
        "BundleClassifier(model, bundle)\n"
        "wrong = check_golden(model, load_golden(bundle, runtime_name().split()[0]))\n"
        "print(bundle.name, *bundle.labels, end=': '); print(wrong or 'right')\n"
    )
    command = [str(EDGE_PYTHON), "-c", program, str(bundle)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=True).stdout.strip()


def test_asking_needs_no_tensorflow(made: Made) -> None:
    program = (
        "import sys; from convert.__main__ import main\n"
        f"assert main(['verify', {str(made.bundle)!r}]) == 0\n"
        f"assert main(['check', {str(made.bundle / 'emotion.int8.tflite')!r}]) == 0\n"
        "assert not {'tensorflow', 'keras'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True, timeout=120)


@pytest.mark.skipif(not EDGE_PYTHON.exists(), reason=f"no device environment at {EDGE_PYTHON}; make .venv-edge/.ready")
def test_agree_measures_both_runtimes(made: Made, capsys: pytest.CaptureFixture[str]) -> None:
    code, printed, said = convert(
        capsys, "agree", made.bundle, "--data", made.data, "--also-python", EDGE_PYTHON, "--json"
    )
    assert code == 0, said
    here, there = json.loads(printed)
    assert here["runtime"].startswith("ai-edge-litert")
    assert there["runtime"].startswith(("tflite-runtime", "ai-edge-litert"))
    assert here["float_accuracy"] == there["float_accuracy"] > 0.9
    assert there["steps_max_from_first_runtime"] <= 12
    recorded = json.loads((made.bundle / "card.json").read_text())["agreement"][0]
    assert here == recorded


def spoiled(path: Path, folder: Path) -> Path:
    """The run with one channel made 3,000 times as large and its consumer's weights as much smaller: the same float
    network, but one int8 scale can't hold both that channel and the others."""
    _, keras = import_frameworks()
    network = keras.saving.load_model(path, compile=False)
    first, second = network.get_layer("first"), network.get_layer("second")
    kernel, bias = first.get_weights()
    first.set_weights([kernel * np.where(np.arange(8) == 0, 3000, 1), bias * np.where(np.arange(8) == 0, 3000, 1)])
    kernel, bias = second.get_weights()
    second.set_weights([kernel / np.where(np.arange(8) == 0, 3000, 1)[:, None], bias])
    return write_run(folder, network, FER_CLASSES, 48)


def test_a_drop_is_explained_and_refused_unless_named(
    made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = spoiled(made.run / "best.keras", tmp_path / "run")
    out = tmp_path / "emotion"
    shutil.copytree(made.bundle, out)
    before = hashes(out)
    code, printed, said = convert(capsys, run, "--out", out, "--data", made.data)
    assert code == 1
    assert "int8 loses" in said and "--accept-drop" in said and "84 validation rows" in said
    assert "error of each layer" in printed and "CONV_2D" in printed
    assert hashes(out) == before and [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    code, printed, _ = convert(capsys, run, "--out", out, "--data", made.data, "--accept-drop")
    assert code == 0
    card = json.loads((out / "card.json").read_text())
    assert card["agreement"][0]["drop_points"] > 1
    assert convert(capsys, "agree", out, "--data", made.data)[0] == 1


def test_bad_runs_and_data_are_refused_in_one_line(
    made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "emotion"

    def refuses(run: Path, data: Path, *more: str) -> str:
        code, _, said = convert(capsys, run, "--out", out, "--data", data, *more)
        assert code == 1 and said.startswith("python -m convert: ") and not out.exists()
        assert [path for path in tmp_path.iterdir() if path.name.startswith(".")] == []
        return said

    assert "recipe.json" in refuses(tmp_path, made.data)
    assert "fer2014.csv" in refuses(made.run, made.data.with_name("fer2014.csv"))
    assert "at least 100 training crops" in refuses(
        made.run, write_csv(tmp_path / "f.csv", {"Training": 9, "PublicTest": 2})
    )
    assert "at least 100" in refuses(made.run, made.data, "--calibration-rows", "5")
    assert "train" in refuses(made.run, write_csv(tmp_path / "t.csv", {"PublicTest": 2}))
    assert "validation" in refuses(made.run, write_csv(tmp_path / "v.csv", {"Training": 20}))

    empty = tmp_path / "empty"
    empty.mkdir()
    shutil.copy(made.run / "recipe.json", empty)
    assert "python -m train fit" in refuses(empty, made.data)
    (empty / "best.keras").write_bytes((made.run / "best.keras").read_bytes()[:2000])
    assert "can't be loaded" in refuses(empty, made.data)
    assert "(None, 7)" in refuses(write_run(tmp_path / "five", small_network(5, 48), FER_CLASSES, 48), made.data)
    broken = small_network(7, 48)
    broken.set_weights([np.full_like(weight, np.nan) for weight in broken.get_weights()])
    assert "NaN" in refuses(write_run(tmp_path / "nan", broken, FER_CLASSES, 48), made.data)
    assert "no/python" in refuses(made.run, made.data, "--also-python", "no/python")
    assert "no/compiler" in refuses(made.run, made.data, "--compiler", "no/compiler")


def test_a_layer_that_stays_float_is_named(made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, keras = import_frameworks()
    layers = keras.layers
    inputs = keras.Input((48, 48, 1))
    x: Any = layers.Conv2D(4, 3, 4, activation="elu")(inputs)
    network = keras.Model(inputs, layers.Dense(7)(layers.Flatten()(x)))
    run = write_run(tmp_path / "run", network, FER_CLASSES, 48)
    code, _, said = convert(capsys, run, "--out", tmp_path / "emotion", "--data", made.data)
    assert code == 1 and "ELU" in said and "ReLU6" in said


def test_out_that_is_no_bundle_is_left_alone(made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "holiday.jpg").write_bytes(b"mine")
    for out, reason in ((tmp_path / "photos", "other files"), (made.data, "is a file"), (Path("/proc/no/bundle"), "")):
        code, _, said = convert(capsys, made.run, "--out", out, "--data", made.data)
        assert code in (1, 2) and reason in said and "--out" in said
    assert (tmp_path / "photos" / "holiday.jpg").read_bytes() == b"mine"


def test_command_line_as_users_run_it(made: Made, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "convert", "verify", str(made.bundle)],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0 and done.stdout.strip().endswith("verified")
    usage = subprocess.run(
        [sys.executable, "-m", "convert", str(made.run)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert usage.returncode == 2 and "--out" in usage.stderr
