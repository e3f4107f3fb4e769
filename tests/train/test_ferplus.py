"""FER+ votes: joined by row position, whatever was left out and whether PrivateTest is there."""

from pathlib import Path

import numpy as np
import pytest

from edge.errors import DataError
from tests.train.faces import csv_row, pictures, seven_classes, write_fer, write_ferplus, write_rows
from train.data import FER_CLASSES, load_dataset, read_dataset
from train.ferplus import VOTES, read_ferplus

IN_ORDER = ("neutral", "happy", "surprise", "sad", "angry", "disgust", "fear", "contempt")
"""FER+'s emotions, as we call them."""
NO_FACE = [0] * 9 + [10]


def vote_for(index: int) -> list[int]:
    """Ten votes for the index-th emotion in FER+'s order, so that rows can be told apart."""
    return [10 if column == index else 0 for column in range(10)]


def test_votes_are_put_in_the_classes_order(tmp_path: Path) -> None:
    labels, splits = seven_classes()
    fer = write_fer(tmp_path / "fer2013.csv", labels, splits)
    votes = [[1, 2, 3, 4, 5, 6, 7, 8, 9, 0]] * len(labels)
    data = read_dataset(fer, ferplus=write_ferplus(tmp_path / "fer2013new.csv", votes, splits))
    assert data.votes is not None
    # FER+: neutral happiness surprise sadness anger disgust fear contempt unknown NF
    assert dict(zip(data.classes, data.votes[0].tolist(), strict=True)) == {
        "neutral": 1, "happy": 2, "surprise": 3, "sad": 4, "angry": 5, "disgust": 6, "fear": 7,
    }  # fmt: skip
    assert data.votes.dtype == np.float32


def test_votes_follow_a_subset_of_classes(tmp_path: Path) -> None:
    labels, splits = seven_classes()
    fer = write_fer(tmp_path / "fer2013.csv", labels, splits)
    plus = write_ferplus(tmp_path / "fer2013new.csv", [[1, 2, 3, 4, 5, 6, 7, 8, 9, 0]] * len(labels), splits)
    data = load_dataset(fer, ferplus=plus, classes=("sadness", "neutral", "happy"))
    assert data.classes == ("sad", "neutral", "happy")
    assert data.votes is not None
    assert data.votes[0].tolist() == [4, 1, 2]


def test_a_row_left_out_does_not_shift_the_votes(tmp_path: Path) -> None:
    images = pictures(100, 4)
    rows = [csv_row(row % 7, image) for row, image in enumerate(images)]
    rows[40] = "1,1 2 3,Training"
    fer = write_rows(tmp_path / "fer2013.csv", rows)
    votes = [vote_for(row % 8) for row in range(100)]
    data = read_dataset(fer, ferplus=write_ferplus(tmp_path / "p.csv", votes, ["train"] * 100), size=8)
    assert data.votes is not None
    for origin, row in zip(data.origins, data.votes, strict=True):
        voted = IN_ORDER[(int(origin.split(":")[1]) - 2) % 8]
        assert row.tolist() == [10.0 if name == voted else 0.0 for name in data.classes]
    assert data.dropped == {"wrong number of pixels": ["fer2013.csv:42"]}


def test_rows_without_a_face_leave_training_only(tmp_path: Path) -> None:
    labels, splits = seven_classes()
    votes = [vote_for(0) for _ in labels]
    votes[0] = votes[3] = NO_FACE  # a training and a validation row
    fer = write_fer(tmp_path / "fer2013.csv", labels, splits)
    data = load_dataset(fer, ferplus=write_ferplus(tmp_path / "p.csv", votes, splits))
    assert data.dropped == {"no face in training, say all FER+ taggers": ["fer2013.csv:2"]}
    assert data.no_face is not None
    assert [data.origins[row] for row in np.flatnonzero(data.no_face)] == ["fer2013.csv:5"]


@pytest.mark.parametrize("complete", [True, False])
def test_complete_votes_fit_a_file_with_and_without_private_test(tmp_path: Path, complete: bool) -> None:
    labels, splits = seven_classes()
    all_labels, all_splits = [*labels, 3, 4], [*splits, "test", "test"]
    votes = [vote_for(row % 10) for row in range(len(all_labels))]
    plus = write_ferplus(tmp_path / "fer2013new.csv", votes, all_splits)
    rows = len(all_labels) if complete else len(labels)
    data = read_dataset(write_fer(tmp_path / "fer2013.csv", all_labels[:rows], all_splits[:rows]), ferplus=plus)
    assert len(data) == rows
    assert data.votes is not None
    assert data.votes[0, FER_CLASSES.index("neutral")] == 10
    if complete:
        assert len(data.subset("test")) == 2


@pytest.mark.parametrize("change", [-1, 1])
def test_another_number_of_rows_is_an_error(tmp_path: Path, change: int) -> None:
    labels, splits = seven_classes()
    fer = write_fer(tmp_path / "fer2013.csv", labels, splits)
    votes = [vote_for(0)] * (len(labels) + change)
    plus = write_ferplus(tmp_path / "p.csv", votes, [*splits, "train"][: len(votes)])
    with pytest.raises(DataError, match=rf"expected 28 rows as in fer2013.csv, .*p.csv has {28 + change}"):
        read_dataset(fer, ferplus=plus)


def test_another_order_of_splits_is_an_error(tmp_path: Path) -> None:
    labels, splits = seven_classes()
    fer = write_fer(tmp_path / "fer2013.csv", labels, splits)
    plus = write_ferplus(tmp_path / "p.csv", [vote_for(0)] * len(labels), splits[::-1])
    with pytest.raises(DataError, match=r"p.csv:2 is a validation row, fer2013.csv:2 a train row"):
        read_dataset(fer, ferplus=plus)


@pytest.mark.parametrize(
    "row", ["Training,x,1,2", "Training,x,a,0,0,0,0,0,0,0,0,0", "Other,x" + ",0" * 10, "Training,x" + ",-1" * 10]
)
def test_a_row_that_cannot_be_read_is_an_error(tmp_path: Path, row: str) -> None:
    path = write_ferplus(tmp_path / "p.csv", [vote_for(0)], ["train"])
    path.write_text(path.read_text() + row + "\n")
    with pytest.raises(DataError, match=r"p\.csv:3 expected a Usage and ten vote counts"):
        read_ferplus(path)


@pytest.mark.parametrize(("content", "said"), [("", "is empty"), ("Usage,neutral\nTraining,1\n", "missing happiness")])
def test_files_that_are_no_ferplus(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "p.csv"
    path.write_text(content)
    with pytest.raises(DataError, match=said):
        read_ferplus(path)


def test_folders_have_lost_the_rows_it_is_joined_by(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"FER\+ is joined by row, which folders have lost"):
        read_dataset(tmp_path, ferplus=tmp_path / "fer2013new.csv")


def test_the_ten_columns() -> None:
    assert len(VOTES) == 10
