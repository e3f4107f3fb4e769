"""Folders of pictures, of any layout, format and size."""

import logging
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.errors import DataError
from tests.train.faces import pictures, write_picture
from train.data import load_dataset, read_dataset
from train.folders import read_folder, read_picture

COLOUR = np.random.default_rng(3).integers(0, 256, (60, 80, 3), dtype=np.uint8)


def class_folders(root: Path, names: tuple[str, ...] = ("angry", "happy"), each: int = 10, seed: int = 0) -> Path:
    for number, name in enumerate(names):
        for index, image in enumerate(pictures(each, 12, seed + number)):
            write_picture(root / name / f"{index}.png", image)
    return root


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".webp", ".tif", ".ppm"])
def test_colour_pictures_of_any_format_become_grey_squares(tmp_path: Path, suffix: str) -> None:
    grey = read_picture(write_picture(tmp_path / f"face{suffix}", COLOUR), 48)
    assert grey.shape == (48, 48)
    assert grey.dtype == np.uint8


def test_the_middle_square_is_taken(tmp_path: Path) -> None:
    image = np.zeros((20, 60), dtype=np.uint8)
    image[:, 20:40] = 200
    assert (read_picture(write_picture(tmp_path / "wide.png", image), 16) == 200).all()
    assert (read_picture(write_picture(tmp_path / "tall.png", np.ascontiguousarray(image.T)), 16) == 200).all()


def test_grey_pictures_of_the_right_size_come_through_unchanged(tmp_path: Path) -> None:
    image = pictures(1)[0]
    assert (read_picture(write_picture(tmp_path / "face.png", image), 48) == image).all()


def test_sixteen_bit_and_transparent_pictures(tmp_path: Path) -> None:
    deep = (pictures(1)[0].astype(np.uint16) << 8) + 5
    assert np.abs(read_picture(write_picture(tmp_path / "deep.png", deep), 48).astype(int) - (deep >> 8)).max() <= 1
    clear = np.dstack([COLOUR, np.full(COLOUR.shape[:2], 9, dtype=np.uint8)])
    expected = read_picture(write_picture(tmp_path / "opaque.png", COLOUR), 48)
    assert (read_picture(write_picture(tmp_path / "clear.png", clear), 48) == expected).all()


def test_pictures_are_turned_upright(tmp_path: Path) -> None:
    image = np.zeros((40, 40), dtype=np.uint8)
    image[:20] = 255
    path = write_picture(tmp_path / "turned.jpg", image)
    # An EXIF block that says: turned by 180 degrees (orientation 3).
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x03\0\0\0\0\0\0"
    data = path.read_bytes()
    path.write_bytes(data[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + data[2:])
    upright = read_picture(path, 40)
    assert upright[:15].max() < 30
    assert upright[25:].min() > 225


def test_class_folders_are_split_80_10_10_by_seed(tmp_path: Path) -> None:
    root = class_folders(tmp_path, ("Sadness", "anger", "bored"), each=20)
    data = load_dataset(root, size=24, seed=4)
    assert data.images.shape == (60, 24, 24)
    assert data.classes == ("angry", "sad", "bored")
    assert {split: counts.tolist() for split, counts in data.class_counts().items()} == {
        "train": [16] * 3,
        "validation": [2] * 3,
        "test": [2] * 3,
    }
    assert "Sadness/0.png" in data.origins
    for origin, label in zip(data.origins, data.labels, strict=True):
        assert {"Sadness": 1, "anger": 0, "bored": 2}[origin.split("/")[0]] == label
    assert (load_dataset(root, size=24, seed=4).splits == data.splits).all()
    assert (load_dataset(root, size=24, seed=5).splits != data.splits).any()


def test_split_folders_are_kept(tmp_path: Path) -> None:
    for number, name in enumerate(("Train", "val", "test")):
        class_folders(tmp_path / name, each=3 + number, seed=10 * number)
    counts = load_dataset(tmp_path, size=12).class_counts()
    assert {split: rows.tolist() for split, rows in counts.items()} == {
        "train": [3, 3],
        "validation": [4, 4],
        "test": [5, 5],
    }
    resplit = load_dataset(tmp_path, size=12, resplit=True).class_counts()
    assert {split: rows.sum() for split, rows in resplit.items()} == {"train": 20, "validation": 2, "test": 2}


def test_a_missing_validation_folder_is_dealt_out_of_train_and_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class_folders(tmp_path / "train", each=20)
    class_folders(tmp_path / "test", each=4, seed=50)
    with caplog.at_level(logging.WARNING):
        counts = load_dataset(tmp_path, size=12).class_counts()
    assert {split: rows.tolist() for split, rows in counts.items()} == {
        "train": [18, 18],
        "validation": [2, 2],
        "test": [4, 4],
    }
    assert "no validation folder" in caplog.text


def test_fer2013_as_folders_keeps_its_usage(tmp_path: Path) -> None:
    for index, image in enumerate(pictures(12, 12)):
        split, usage = [("train", "Training"), ("test", "PublicTest"), ("test", "PrivateTest")][index % 3]
        write_picture(tmp_path / split / ("angry" if index < 6 else "happy") / f"{usage}_{index}.png", image)
    data = read_dataset(tmp_path, size=12)
    expected = {"Training": "train", "PublicTest": "validation", "PrivateTest": "test"}
    for origin, split in zip(data.origins, data.splits, strict=True):
        assert expected[Path(origin).name.split("_")[0]] == split


def test_subjects_below_a_class_and_files_beside_the_pictures(tmp_path: Path) -> None:
    class_folders(tmp_path)
    write_picture(tmp_path / "angry" / "subject1" / "a.png", pictures(1, 12, 77)[0])
    (tmp_path / "happy" / "notes.txt").write_text("x")
    (tmp_path / "happy" / "Thumbs.db").write_text("x")
    data = read_dataset(tmp_path, size=12)
    assert "angry/subject1/a.png" in data.origins
    assert data.dropped == {"not a picture file": ["happy/Thumbs.db", "happy/notes.txt"]}


def test_a_folder_beside_the_split_folders_is_named(tmp_path: Path) -> None:
    class_folders(tmp_path / "train")
    class_folders(tmp_path / "spare")
    assert read_dataset(tmp_path, size=12).dropped == {"folder that is neither train, validation nor test": ["spare"]}


@pytest.mark.parametrize("damage", ["empty", "text", "cut short"])
def test_an_unreadable_picture_is_left_out_and_named(
    tmp_path: Path, damage: str, capfd: pytest.CaptureFixture[str]
) -> None:
    class_folders(tmp_path, each=30)
    path = write_picture(tmp_path / "angry" / "bad.jpg", COLOUR)
    whole = path.read_bytes()
    path.write_bytes({"empty": b"", "text": b"<html>not found</html>", "cut short": whole[: len(whole) // 2]}[damage])
    data = read_dataset(tmp_path, size=12)
    assert data.dropped == {"no readable picture": ["angry/bad.jpg"]}
    assert len(data) == 60
    assert capfd.readouterr().err == "", "OpenCV's own log would say less, to nobody"


def test_many_unreadable_pictures_are_refused(tmp_path: Path) -> None:
    class_folders(tmp_path, each=2)
    (tmp_path / "angry" / "bad.jpg").write_bytes(b"x")
    with pytest.raises(
        DataError, match=r"bad.jpg is no readable picture .1 bytes.*; it is the first of 1 such files of 5"
    ):
        read_folder(tmp_path, 12, 0)


@pytest.mark.parametrize("found", ["nothing", "loose.png", "deep"])
def test_a_folder_without_class_folders(tmp_path: Path, found: str) -> None:
    if found == "loose.png":
        write_picture(tmp_path / found, COLOUR)
    elif found == "deep":
        (tmp_path / "deep").mkdir()
    with pytest.raises(DataError, match=f"expected class folders with pictures in .*, found {found}"):
        read_folder(tmp_path, 12, 0)


def test_a_folder_that_holds_a_csv(tmp_path: Path) -> None:
    (tmp_path / "fer2013.csv").touch()
    with pytest.raises(DataError, match=r"found fer2013.csv; give the file, .*fer2013.csv"):
        read_folder(tmp_path, 12, 0)


def test_one_class_is_no_data_set(tmp_path: Path) -> None:
    class_folders(tmp_path, ("happy",))
    with pytest.raises(DataError, match="every row is of one: happy"):
        load_dataset(tmp_path, size=12)


def test_an_unreadable_file_is_explained_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="can't open"):
        read_picture(tmp_path / "missing.png", 48)
    assert cv2.utils.logging.getLogLevel() != cv2.utils.logging.LOG_LEVEL_SILENT
