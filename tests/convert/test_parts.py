"""Calibration rows, the folder swap, agreement figures and the golden pictures, each by itself."""

import json
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from convert.agreement import Outputs, compare, require_agreement, table
from convert.flatbuffer import parse_tflite
from convert.folder import replaced_folder
from convert.golden import golden_pictures
from convert.quantize import calibration_rows, with_full_range, with_short_names
from convert.runner import run_model
from convert.verify import SCHEMA
from edge.errors import ConversionError, UsageError
from tests.convert import made_models

GOLDEN = Path(__file__).resolve().parents[1] / "golden"


@given(
    st.lists(st.integers(0, 60), min_size=2, max_size=8).filter(lambda counts: sum(counts) >= 100),
    st.integers(100, 200),
    st.integers(0, 1000),
)
def test_calibration_rows_are_even_over_classes(counts: list[int], wanted: int, seed: int) -> None:
    labels = np.repeat(np.arange(len(counts)), counts)
    np.random.default_rng(seed).shuffle(labels)
    rows = calibration_rows(labels, wanted, seed)
    assert len(rows) == len(set(rows.tolist())) == min(wanted, len(labels))
    np.testing.assert_array_equal(rows, calibration_rows(labels, wanted, seed))
    taken = np.bincount(labels[rows], minlength=len(counts))
    # A class gives fewer than another only where it has no more.
    for label, count in enumerate(counts):
        assert taken[label] >= taken.max() - 1 or taken[label] == count


def test_short_names_change_nothing_else() -> None:
    long = made_models.per_channel_dense()  # as the converter gives it
    short = with_short_names(long)
    assert len(short) < len(long)
    before, after = parse_tflite(long)[0], parse_tflite(short)[0]
    assert {tensor.name.count("/") for tensor in after.tensors} <= {0, 1}
    for one, other in zip(before.tensors, after.tensors, strict=True):
        assert replace(one, name="") == replace(other, name="")
    assert [op.options for op in before.operators] == [op.options for op in after.operators]
    pictures = made_models.crops()
    np.testing.assert_array_equal(run_model(long, pictures)[0], run_model(short, pictures)[0])


def test_seed_chooses_other_rows() -> None:
    labels = np.arange(1000) % 7
    assert not np.array_equal(calibration_rows(labels, 100, 0), calibration_rows(labels, 100, 1))


def test_full_range_adds_one_crop() -> None:
    crops = np.full((3, 8, 8), 100, np.uint8)
    wider = with_full_range(crops)
    assert wider.shape == (4, 8, 8) and (wider.min(), wider.max()) == (0, 255)
    np.testing.assert_array_equal(wider[:3], crops)
    assert (wider[3] == 100).sum() == 62


def outputs(steps: list[list[int]], scale: float) -> Outputs:
    values = np.array(steps, np.int8)
    return Outputs("test 1", values, values.astype(np.float32) * np.float32(scale))


def test_agreement_figures() -> None:
    reference = np.array([[2.0, 0, 0], [0, 2, 0], [0, 0, 2], [0, 2, 0]], np.float32)
    labels = np.array([0, 1, 2, 1])
    same = outputs([[20, 0, 0], [0, 20, 0], [0, 0, 20], [0, 20, 0]], 0.1)
    other = outputs([[20, 0, 0], [0, 20, 0], [0, 0, 20], [23, 20, 0]], 0.1)
    first, second = compare(reference, [same, other], labels, ("a", "b", "c"), "validation", 0.1)
    assert (first.float_accuracy, first.int8_accuracy, first.drop_points, first.top1_agreement) == (1.0, 1.0, 0.0, 1.0)
    assert first.steps_max < 1e-5 and first.steps_max_from_first_runtime == 0
    assert (second.int8_accuracy, second.drop_points, second.top1_agreement) == (0.75, 25.0, 0.75)
    assert (second.worst_class, second.worst_class_recall_change_points) == ("b", -50.0)
    assert second.steps_max == pytest.approx(23) and second.steps_max_from_first_runtime == 23
    assert "+25.00 points" in table([first, second])
    require_agreement([first], accept_drop=False)
    require_agreement([first, second], accept_drop=True)
    with pytest.raises(ConversionError, match=r"25\.00 points .*100\.00 % float, 75\.00 % int8"):
        require_agreement([first, second], accept_drop=False)


def test_golden_pictures_differ_and_fit() -> None:
    pictures = golden_pictures(64, 48)
    assert pictures.shape == (4, 64, 48) and pictures.dtype == np.uint8
    # The face is a face: brighter in the middle than a flat field, and its negative is its negative.
    assert pictures[0].std() > 20
    np.testing.assert_array_equal(pictures[1], 255 - pictures[0])


@contextmanager
def full_disk(limit: int) -> Iterator[None]:
    """No file may grow past ``limit`` bytes: writing fails as on a full disk (EFBIG instead of ENOSPC)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_folder_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "emotion"
    with replaced_folder(out) as staging:
        (staging / "card.json").write_text("first")
        assert not out.exists()
    assert (out / "card.json").read_text() == "first"

    with full_disk(1000), pytest.raises(ConversionError, match="the old bundle is unchanged") as caught:  # noqa: SIM117
        with replaced_folder(out) as staging:
            (staging / "card.json").write_text("second")
            (staging / "big").write_bytes(b"x" * 5000)
    assert "\n" not in str(caught.value)
    assert [path.name for path in out.parent.iterdir()] == ["emotion"]
    assert (out / "card.json").read_text() == "first"

    with pytest.raises(KeyboardInterrupt), replaced_folder(out):
        raise KeyboardInterrupt
    assert [path.name for path in out.parent.iterdir()] == ["emotion"]

    with replaced_folder(out) as staging:
        (staging / "card.json").write_text("third")
    assert [path.name for path in out.iterdir()] == ["card.json"]
    assert (out / "card.json").read_text() == "third"


def test_symlinked_bundle_keeps_its_link(tmp_path: Path) -> None:
    (tmp_path / "v1").mkdir()
    (tmp_path / "v1" / "card.json").write_text("old")
    (tmp_path / "current").symlink_to("v1")
    with replaced_folder(tmp_path / "current") as staging:
        (staging / "card.json").write_text("new")
    assert (tmp_path / "current").is_symlink() and (tmp_path / "v1" / "card.json").read_text() == "new"


def test_a_swap_that_fails_puts_the_old_one_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "emotion"
    out.mkdir()
    (out / "card.json").write_text("old")
    rename = Path.rename

    def refuse_the_new_one(self: Path, target: Path) -> Path:
        if Path(target) == out and not self.name.endswith(".old"):
            raise OSError(28, "No space left on device")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refuse_the_new_one)
    with pytest.raises(ConversionError, match="No space left"), replaced_folder(out) as staging:
        (staging / "card.json").write_text("new")
    assert (out / "card.json").read_text() == "old" and len(list(tmp_path.iterdir())) == 1


def test_folders_that_are_not_ours(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    for out in (tmp_path, tmp_path / "notes.txt"):
        with pytest.raises(UsageError), replaced_folder(out):
            pass
    with pytest.raises(ConversionError), replaced_folder(tmp_path / "notes.txt" / "emotion"):
        pass
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_schema_is_valid_and_holds_the_device_fixtures() -> None:
    schema = json.loads(SCHEMA.read_text())
    Draft202012Validator.check_schema(schema)
    cards = sorted(GOLDEN.glob("*/card.json"))
    assert cards
    for path in cards:
        Draft202012Validator(schema).validate(json.loads(path.read_text()))
