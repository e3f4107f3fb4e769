"""Bundles: the good ones load whatever their labels and size, every damaged one is refused before it is loaded."""

import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.bundle import Bundle, CropGeometry, load_bundle
from edge.calibration import Calibration
from edge.errors import BundleError
from edge.records import TensorSpec
from edge.runtimes.golden import golden_json, load_golden
from tests.devdata import ROOT
from tests.edge.runtimes.conftest import GOLDEN

Card = dict[str, Any]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(GOLDEN / "tiny7", tmp_path / "bundle"))


def edit(folder: Path, change: Callable[[Card], object]) -> None:
    card = json.loads((folder / "card.json").read_text())
    change(card)
    (folder / "card.json").write_text(json.dumps(card))


def test_a_bundle_with_seven_labels() -> None:
    bundle = load_bundle(GOLDEN / "tiny7")
    assert bundle.labels == ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
    assert bundle.input == TensorSpec((1, 48, 48, 1), "int8", 1.0, -128)
    assert bundle.output.shape == (1, 7)
    assert (bundle.output_kind, bundle.calibration) == ("logits", Calibration(1.5, 0.0))
    assert bundle.crop("yunet") == CropGeometry(0.98, "height")
    assert bundle.path("int8").read_bytes() == bundle.read("int8")
    with pytest.raises(BundleError, match="no 'keras' file; it has edgetpu, golden, int8"):
        bundle.path("keras")
    with pytest.raises(BundleError, match="no crop geometry for detector 'mtcnn'; it has haar, yunet"):
        bundle.crop("mtcnn")


def test_smoothing_is_read_and_may_be_absent(copy: Path) -> None:
    edit(copy, put("smoothing", 0.11))
    assert load_bundle(copy).calibration == Calibration(1.5, 0.11)


def test_a_bundle_with_three_labels_and_another_size() -> None:
    bundle = load_bundle(GOLDEN / "tiny3")
    assert bundle.labels == ("angry", "happy", "sad")
    assert (bundle.input.shape, bundle.output.shape) == ((1, 64, 64, 1), (1, 3))


def put(path: str, value: object) -> Callable[[Card], object]:
    """A change of the field at dotted ``path``."""

    def change(card: Card) -> None:
        *parents, last = path.split(".")
        for parent in parents:
            card = card[parent]
        card[last] = value

    return change


def drop(path: str) -> Callable[[Card], object]:
    def change(card: Card) -> None:
        *parents, last = path.split(".")
        for parent in parents:
            card = card[parent]
        del card[last]

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (put("schema", "emotion-edge/card/2"), r"schema: expected 'emotion-edge/card/1', got 'emotion-edge/card/2'"),
        (drop("schema"), "schema: expected 'emotion-edge/card/1', got nothing"),
        (put("name", ""), "name: expected a line of text, got ''"),
        (put("version", 1), "version: expected a line of text, got 1"),
        (put("labels", ["one"]), "labels: expected two or more different names"),
        (put("labels", ["a", "a"]), "labels: expected two or more different names"),
        (put("labels", ["a", ["b"]]), "labels: expected two or more different names"),
        (put("labels", ["a", "unknown"]), "other than 'unknown' and 'none'"),
        (put("labels", ["a", "b", "c"]), r"output.shape: expected \[1, 3\] for the 3 labels, got \[1, 7\]"),
        (put("input.shape", [1, 48, 48, 3]), r"input.shape: expected \[1, height, width, 1\]"),
        (put("input.shape", [1, 0, 48, 1]), r"input.shape: expected \[1, height, width, 1\]"),
        (put("input.shape", [1, 48, 48]), "input.shape: expected 4 whole numbers"),
        (put("input.shape", [1, 48.0, 48, 1]), "input.shape: expected 4 whole numbers"),
        (put("input.dtype", "float32"), "input.dtype: expected 'int8', got 'float32'"),
        (put("input.scale", 0), "input.scale: expected a finite number above 0, got 0"),
        (put("input.scale", float("nan")), "input.scale: expected a finite number above 0, got nan"),
        (put("input.scale", True), "input.scale: expected a finite number above 0, got True"),
        (put("input.zero_point", 128), "input.zero_point: expected a whole number from -128 to 127, got 128"),
        (put("input.colour", "rgb"), "input.colour: expected 'grey', got 'rgb'"),
        (put("input.range", [0, 1]), r"input.range: expected \[0, 255\], got \[0, 1\]"),
        (put("output.kind", "scores"), "output.kind: expected 'logits' or 'probabilities', got 'scores'"),
        (put("output.kind", []), "output.kind: expected 'logits' or 'probabilities'"),
        (put("temperature", -1), "temperature: expected a finite number above 0, got -1"),
        (put("temperature", 10**400), "temperature: expected a finite number above 0, got 1000"),
        (put("smoothing", 1), "smoothing: expected a number from 0 up to, not including, 1, got 1"),
        (put("smoothing", -0.1), "smoothing: expected a number from 0 up to, not including, 1, got -0.1"),
        (put("smoothing", None), "smoothing: expected a number from 0 up to, not including, 1, got None"),
        (put("smoothing", float("nan")), "smoothing: expected a number from 0 up to, not including, 1, got nan"),
        (put("crops", {}), "crops: expected the crop geometry of one detector or more"),
        (put("crops.haar.of", "area"), "crops.haar.of: expected 'width' or 'height', got 'area'"),
        (put("crops.haar", 1.09), "crops.haar: expected an object, got 1.09"),
        (put("crops.a\nb", 1), r"crops.a\\nb': expected an object, got 1"),
        (put("files.\n", {}), r"files.\\n': expected no such file"),
        (drop("files.int8"), "files.int8: expected the int8 model's path"),
        (drop("files.golden"), "files.golden: expected golden inputs beside the Edge TPU model"),
        (put("files.onnx", {}), "files.onnx: expected no such file; the known ones are int8"),
        (put("files.int8.path", "../tiny3/emotion.int8.tflite"), "files.int8.path: expected a plain file name"),
        (put("files.int8.path", "/etc/passwd"), "files.int8.path: expected a plain file name"),
        (put("files.int8.path", "a\\b"), "files.int8.path: expected a plain file name"),
        (put("files.int8.path", ".."), "files.int8.path: expected a plain file name"),
        (put("files.int8.sha256", "ABC"), "files.int8.sha256: expected 64 hexadecimal digits"),
        (put("files.int8.sha256", "0" * 64), r"emotion.int8.tflite: expected sha256 0{64}, got [0-9a-f]{64}; restore"),
        (put("files.int8.bytes", 5), r"expected 5 bytes, got \d{4}; restore the file or convert again"),
        (put("files.int8.bytes", 10**12), "files.int8.bytes: expected a whole number from 1"),
        (put("files.int8.path", "absent.tflite"), "absent.tflite: expected .* bytes, found no such file"),
        (put("scores", {}), "scores: expected a list"),
        (drop("calibration"), "calibration: expected an object, got nothing"),
        (drop("limits"), "limits: expected a line of text, got nothing"),
    ],
)
def test_a_wrong_field_is_named(copy: Path, change: Callable[[Card], object], message: str) -> None:
    edit(copy, change)
    with pytest.raises(BundleError, match=message) as caught:
        load_bundle(copy)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not JSON"),
        (b"\xff\xfe", "is not JSON"),
        (b"[]", r"expected a JSON object, got \[\]"),
        (b"[" * 200_000, "is not JSON"),
        (b" " * 1_000_001, "of at most 1000000 bytes"),
        (b'{"schema": ' + b"9" * 5000 + b"}", "is not JSON"),
    ],
)
def test_a_card_that_is_none(copy: Path, content: bytes, message: str) -> None:
    (copy / "card.json").write_bytes(content)
    with pytest.raises(BundleError, match=message):
        load_bundle(copy)


def test_a_folder_without_a_card(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"expected a model bundle with card.json .*No such file"):
        load_bundle(tmp_path)
    with pytest.raises(BundleError, match="expected a model bundle"):
        load_bundle(tmp_path / "absent")


def test_a_pipe_in_a_file_s_place_does_not_block(copy: Path) -> None:
    (copy / "golden.json").unlink()
    os.mkfifo(copy / "golden.json")
    with pytest.raises(BundleError, match="found no such file"):
        load_bundle(copy)


def test_a_file_that_changes_after_loading_is_not_read(copy: Path) -> None:
    bundle = load_bundle(copy)
    (copy / "emotion.int8.tflite").write_bytes(b"x" * bundle.files["int8"].bytes)
    with pytest.raises(BundleError, match="expected sha256"):
        bundle.read("int8")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=6,
)


def paths(value: object, prefix: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    below = (
        [path for key, inner in value.items() for path in paths(inner, (*prefix, key))]
        if isinstance(value, dict)
        else []
    )
    return [prefix, *below] if prefix else below


TINY7: Card = json.loads((GOLDEN / "tiny7" / "card.json").read_text())


@settings(max_examples=300, deadline=None)
@given(place=st.sampled_from(paths(TINY7)), value=json_values)
def test_any_value_anywhere_is_accepted_or_refused_in_one_line(
    tmp_path_factory: pytest.TempPathFactory, place: tuple[str, ...], value: object
) -> None:
    folder = tmp_path_factory.getbasetemp() / "mutated"
    if not folder.exists():
        shutil.copytree(GOLDEN / "tiny7", folder)
    shutil.copy(GOLDEN / "tiny7" / "card.json", folder)
    edit(folder, put(".".join(place), value))
    try:
        bundle = load_bundle(folder)
    except BundleError as error:
        assert "\n" not in str(error)
    else:
        assert bundle.output.shape[1] == len(bundle.labels)


MUTATIONS = """
import sys
from pathlib import Path
from edge.bundle import load_bundle
from edge.errors import BundleError
from edge.runtimes.tflite import TfliteModel

refused = loaded = 0
for folder in sorted(Path(sys.argv[1]).iterdir()):
    try:
        model = TfliteModel(load_bundle(folder).read("int8"))
        loaded += 1
    except BundleError as error:
        assert "\\n" not in str(error), error
        refused += 1
print(refused, loaded)
"""


def test_damaged_model_files_are_refused_before_they_can_crash_anything(tmp_path: Path) -> None:
    chance = random.Random(5)
    content = (GOLDEN / "tiny7" / "emotion.int8.tflite").read_bytes()
    for number in range(100):
        folder = tmp_path / f"{number:03d}"
        shutil.copytree(GOLDEN / "tiny7", folder)
        damaged = bytearray(content)
        match number % 4:
            case 0:
                del damaged[chance.randrange(len(damaged)) :]
            case 1:
                damaged[chance.randrange(len(damaged))] ^= 1 << chance.randrange(8)
            case 2:
                start = chance.randrange(len(damaged))
                damaged[start : start + 64] = chance.randbytes(64)
            case 3:
                damaged += chance.randbytes(chance.randrange(1, 100))
        (folder / "emotion.int8.tflite").write_bytes(damaged)
    # In a process of its own: a crash would be seen as its exit code.
    done = subprocess.run(
        [sys.executable, "-c", MUTATIONS, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout.split()) == (0, ["100", "0"]), done.stderr


def rewrite_golden(folder: Path, change: Callable[[Card], object]) -> None:
    """A golden file that matches the card's hash and is wrong in itself."""
    golden = json.loads((folder / "golden.json").read_text())
    change(golden)
    content = json.dumps(golden).encode()
    (folder / "golden.json").write_bytes(content)
    entry = {"path": "golden.json", "sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    edit(folder, put("files.golden", entry))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (put("schema", "x"), "schema: expected 'emotion-edge/golden/1'"),
        (put("cases", []), "cases: expected a list of one case or more"),
        (put("cases", [3]), "cases: expected a list of one case or more"),
        (put("cases", [{"input": "AAAA", "output": []}]), r"cases\[0\].input: expected base64 of 48 x 48 grey levels"),
        (put("cases", [{"input": "!", "output": []}]), r"cases\[0\].input: expected base64"),
        (put("tolerance_steps", {}), "tolerance_steps.edgetpu: expected a finite number above 0, got nothing"),
        (lambda golden: golden["cases"][1]["output"].pop(), r"cases\[1\].output: expected 7 whole numbers"),
        (lambda golden: golden["cases"][1]["output"].__setitem__(0, 128), r"cases\[1\].output: expected 7 whole"),
    ],
)
def test_a_wrong_golden_file_is_named(copy: Path, change: Callable[[Card], object], message: str) -> None:
    rewrite_golden(copy, change)
    with pytest.raises(BundleError, match=message):
        load_golden(load_bundle(copy), "edgetpu")


def test_golden_files_are_read_as_written(tiny7: Bundle) -> None:
    cases = load_golden(tiny7, "edgetpu")
    crops = [(case.tensor[0, :, :, 0].astype(int) + 128).astype(np.uint8) for case in cases]
    text = golden_json(crops, [case.outputs[0].astype(np.int8) for case in cases], {"edgetpu": 16.0})
    written, stored = json.loads(text), json.loads(tiny7.path("golden").read_text())
    assert written["cases"] == stored["cases"]
