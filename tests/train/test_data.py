"""load_dataset on every layout, and the real rows where they are there."""

from pathlib import Path

import numpy as np
import pytest

from edge.errors import DataError
from tests.train.conftest import FerFiles
from tests.train.faces import csv_row, pictures, seven_classes, write_fer, write_rows
from train.data import CK_CLASSES, FER_CLASSES, Dataset, load_dataset, read_dataset


def made(tmp_path: Path, name: str = "fer2013.csv") -> Path:
    return write_fer(tmp_path / name, *seven_classes())


def test_fer2013(tmp_path: Path) -> None:
    data = load_dataset(made(tmp_path))
    assert data.classes == FER_CLASSES
    assert data.images.shape == (28, 48, 48)
    assert data.images.dtype == np.uint8
    assert data.labels.dtype == np.int64
    assert data.votes is None
    assert data.origins[:2] == ("fer2013.csv:2", "fer2013.csv:3")
    assert {split: counts.tolist() for split, counts in data.class_counts().items()} == {
        "train": [3] * 7,
        "validation": [1] * 7,
    }


def test_ckextended_has_contempt(tmp_path: Path) -> None:
    images = pictures(32)
    rows = [
        csv_row(code, images[4 * code + i], "Training" if i < 3 else "PublicTest")
        for code in range(8)
        for i in range(4)
    ]
    data = load_dataset(write_rows(tmp_path / "ckextended.csv", rows))
    assert data.classes == CK_CLASSES
    assert data.classes[data.labels[-1]] == "contempt"


@pytest.mark.parametrize("size", [48, 64, 96, 224])
def test_any_size(tmp_path: Path, size: int) -> None:
    data = load_dataset(made(tmp_path), size=size)
    assert data.images.shape == (28, size, size)
    # Scaling keeps the picture: its mean grey level stays.
    original = load_dataset(made(tmp_path)).images.mean(axis=(1, 2))
    assert np.abs(data.images.mean(axis=(1, 2)) - original).max() < 4


def test_classes_by_name_in_the_order_wanted(tmp_path: Path) -> None:
    data = load_dataset(made(tmp_path), classes=("sadness", "angry"))
    whole = load_dataset(made(tmp_path))
    assert data.classes == ("sad", "angry")
    for origin, label in zip(data.origins, data.labels, strict=True):
        assert whole.classes[whole.labels[whole.origins.index(origin)]] == data.classes[label]
    assert {reason: len(origins) for reason, origins in data.dropped.items()} == {
        f"class not wanted: {name}": 4 for name in FER_CLASSES if name not in ("sad", "angry")
    }


def test_a_conflict_with_a_class_that_is_not_wanted_is_a_conflict(tmp_path: Path) -> None:
    labels, splits = seven_classes()
    images = pictures(len(labels))
    images[4] = images[0]  # a disgust row with an angry row's picture, both in training
    path = write_fer(tmp_path / "fer2013.csv", labels, splits, images)
    data = load_dataset(path, classes=("angry", "happy"))
    assert data.dropped["identical training pictures with different labels"] == ["fer2013.csv:2", "fer2013.csv:6"]


def test_not_clean_keeps_everything(tmp_path: Path) -> None:
    labels, splits = seven_classes()
    path = write_fer(tmp_path / "fer2013.csv", labels, splits, np.zeros((len(labels), 48, 48), dtype=np.uint8))
    assert len(load_dataset(path, clean=False)) == len(labels)


def test_a_file_without_usage_is_split_80_10_10_and_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    images = pictures(140)
    rows = [csv_row(code, images[20 * code + i]).rsplit(",", 1)[0] for code in range(7) for i in range(20)]
    path = write_rows(tmp_path / "train.csv", rows, "emotion,pixels")
    data = load_dataset(path, seed=3)
    assert "train.csv has no Usage column: its rows are dealt out 80/10/10 at random by seed 3" in caplog.text
    assert (load_dataset(path, seed=3).splits == data.splits).all()
    assert (load_dataset(path, seed=4).splits != data.splits).any()
    counts = data.class_counts()
    assert {split: set(rows.tolist()) for split, rows in counts.items()} == {
        "train": {16},
        "validation": {2},
        "test": {2},
    }


def test_resplit_ignores_the_usage(tmp_path: Path) -> None:
    labels, splits = seven_classes(each=20)
    counts = load_dataset(write_fer(tmp_path / "fer2013.csv", labels, splits), resplit=True).class_counts()
    assert {split: set(rows.tolist()) for split, rows in counts.items()} == {
        "train": {17},
        "validation": {2},
        "test": {2},
    }


def test_a_split(tmp_path: Path) -> None:
    data = load_dataset(made(tmp_path))
    validation = data.subset("validation")
    assert len(validation) == 7
    assert set(validation.splits.tolist()) == {"validation"}
    assert validation.origins == tuple(
        o for o, split in zip(data.origins, data.splits, strict=True) if split == "validation"
    )
    with pytest.raises(DataError, match="expected rows of the test split, the data has only train, validation"):
        data.subset("test")


def test_what_was_left_out_in_words() -> None:
    empty = np.zeros(0, dtype=np.int64)
    data = Dataset(
        np.zeros((0, 8, 8), np.uint8),
        empty,
        np.zeros(0, "<U16"),
        FER_CLASSES,
        dropped={"why": [f"f:{i}" for i in range(7)]},
    )
    assert data.dropped_lines(2) == ["left out 7: why (f:0, f:1, and 5 more)"]


def message(path: Path, **options: object) -> str:
    with pytest.raises(DataError) as caught:
        load_dataset(path, **options)  # type: ignore[arg-type]
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


def test_bad_input_is_named_with_its_mend(tmp_path: Path) -> None:
    assert "does not exist; check the path" in message(tmp_path / "none.csv")
    assert "8 pixels or more, got 4" in message(made(tmp_path), size=4)
    assert "did you mean 'surprise'?" in message(made(tmp_path), classes=("suprise", "happy"))
    labels, splits = seven_classes()
    one_split = write_fer(tmp_path / "a.csv", [3] * 4, ["train", "train", "train", "validation"])
    assert "every row is of one: happy" in message(one_split)
    no_disgust = [split if label != 1 else "train" for label, split in zip(labels, splits, strict=True)]
    said = message(write_fer(tmp_path / "b.csv", labels, no_disgust))
    assert "in the validation split of" in said
    assert "none of disgust" in said
    assert "--classes angry,fear,happy,sad,surprise,neutral" in said


def test_a_class_that_only_the_test_split_lacks_is_no_error(tmp_path: Path) -> None:
    labels, splits = seven_classes()
    assert len(load_dataset(write_fer(tmp_path / "a.csv", [*labels, 3], [*splits, "test"])).subset("test")) == 1


def test_the_real_rows(fer_raw: Dataset) -> None:
    """Class counts as published; constant rows, leaks and conflicts as measured by hand beforehand."""
    counts = fer_raw.class_counts()
    assert counts["train"].tolist() == [3995, 436, 4097, 7215, 4830, 3171, 4965]
    assert counts["validation"].sum() == 3589
    assert not fer_raw.dropped
    assert fer_raw.votes is not None
    assert fer_raw.votes.sum(axis=1).max() <= 10


def test_hygiene_of_the_real_rows(fer_raw: Dataset, fer_clean: Dataset) -> None:
    counts = {reason: len(origins) for reason, origins in fer_clean.dropped.items()}
    assert counts == {
        "constant picture in training": 11,
        "no face in training, say all FER+ taggers": 139,
        "training picture that validation or test has too": 340,
        "identical training pictures with different labels": 83,
        "training picture that came before": 1105,
    }
    assert len(fer_clean.subset("train")) == 28709 - sum(counts.values()) == 27031
    assert (fer_clean.subset("validation").images == fer_raw.subset("validation").images).all()
    constant = fer_raw.images.min(axis=(1, 2)) == fer_raw.images.max(axis=(1, 2))
    assert np.flatnonzero(constant).tolist() == [
        6458, 7629, 10423, 11286, 13148, 13402, 13988, 15894, 22198, 22927, 28601, 30002,
    ]  # fmt: skip
    train = {image.tobytes() for image in fer_raw.subset("train").images}
    assert sum(image.tobytes() in train for image in fer_raw.subset("validation").images) == 280
    kept = {image.tobytes() for image in fer_clean.subset("train").images}
    assert not any(image.tobytes() in kept for image in fer_clean.subset("validation").images)


def test_ferplus_agrees_with_the_real_labels_as_known(fer_raw: Dataset) -> None:
    """62.7 %: the most-voted of the seven emotions, ties going to the first in FER+'s own order."""
    assert fer_raw.votes is not None
    order = [FER_CLASSES.index(name) for name in ("neutral", "happy", "surprise", "sad", "angry", "disgust", "fear")]
    most_voted = np.array(order)[fer_raw.votes[:, order].argmax(axis=1)]
    assert (most_voted == fer_raw.labels).mean() == pytest.approx(0.627, abs=0.0005)


def test_private_test_rows_change_nothing_else(fer_files: FerFiles, fer_clean: Dataset, tmp_path: Path) -> None:
    """Made-up PrivateTest rows after the real ones, one of them a training picture: only that row leaves training."""
    copied = fer_clean.subset("train")
    line = int(copied.origins[100].split(":")[1])
    private = [csv_row(code % 7, image, "PrivateTest") for code, image in enumerate(pictures(20, seed=5))]
    private.append(csv_row(copied.labels[100], copied.images[100], "PrivateTest"))
    csv, plus = tmp_path / "fer2013.csv", tmp_path / "fer2013new.csv"
    csv.write_bytes(fer_files.csv.read_bytes() + ("\n".join(private) + "\n").encode())
    votes = "PrivateTest,fer0032298.png,0,10,0,0,0,0,0,0,0,0\r\n" * len(private)
    plus.write_bytes(fer_files.ferplus.read_bytes() + votes.encode())
    data = load_dataset(csv, ferplus=plus)
    csv.unlink()  # 270 MB that pytest would keep
    assert len(data.subset("test")) == 21
    assert len(data.subset("train")) == len(copied) - 1
    assert f"fer2013.csv:{line}" in data.dropped["training picture that validation or test has too"]
    # The complete FER+ file fits the shorter CSV too.
    assert read_dataset(fer_files.csv, ferplus=plus).votes is not None
