"""train explore: the right figures, and a page that is whole by itself."""

import argparse
import base64
import contextlib
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from edge.errors import DataError
from tests.train.faces import csv_row, pictures, seven_classes, write_fer, write_ferplus, write_picture, write_rows
from train import explore, explore_pictures
from train.data import Dataset, read_dataset


class Page(HTMLParser):
    """What an HTML page holds."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.pictures: list[tuple[str, bytes]] = []
        self.headings: list[str] = []
        self.tags: set[str] = set()
        self.within = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.within = tag
        if tag == "img":
            kept = dict(attrs)
            kind, data = (kept["src"] or "").split(",")
            assert kind == "data:image/png;base64"
            self.pictures.append((kept["alt"] or "", base64.b64decode(data)))

    def handle_data(self, data: str) -> None:
        if self.within == "h2" and data.strip():
            self.headings.append(data)


def command(*arguments: str | Path) -> int:
    parser = argparse.ArgumentParser()
    explore.add_arguments(parser)
    return explore.run(parser.parse_args([str(argument) for argument in arguments]))


def flawed(folder: Path) -> tuple[Path, Path]:
    """A fer2013.csv with every flaw, and its FER+."""
    labels, splits = seven_classes(each=8)
    images = pictures(len(labels), 48)
    images[0] = 130  # constant
    images[2] = images[1]  # repeated
    images[10] = images[3]  # another label
    images[8] = images[4]  # validation, also in training
    votes = [[0, 0, 0, 0, 10, 0, 0, 0, 0, 0] for _ in labels]  # all say angry
    votes[5] = [0] * 9 + [10]  # no face
    votes[6] = [5, 0, 0, 0, 5, 0, 0, 0, 0, 0]  # a tie
    fer = write_fer(folder / "fer2013.csv", labels, splits, images)
    fer.write_text(fer.read_text() + "3,1 2 3,Training\n")
    return fer, write_ferplus(folder / "fer2013new.csv", [*votes, votes[0]], [*splits, "train"])


@pytest.fixture(scope="module")
def explored(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """Standard output and the report's folder of the flawed data."""
    folder = tmp_path_factory.mktemp("explored")
    fer, plus = flawed(folder)
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        assert command("--data", fer, "--ferplus", plus, "--out", folder / "out") == 0
    return said.getvalue(), folder / "out"


def test_the_summary_says_what_is_there(explored: tuple[str, Path]) -> None:
    said, folder = explored
    assert "fer2013.csv: 63 pictures of 48x48, 7 classes" in said
    assert re.search(r"^angry +8 +1 +9 +14.3%$", said, re.MULTILINE)
    assert re.search(r"^all +56 +7 +63 +100.0%$", said, re.MULTILINE)
    for line in (
        "rows or files left out on reading: 1",
        "classes missing from a split: none",
        "different pictures: 60 of 63",
        "training rows that repeat an earlier one: 2",
        "constant pictures (one grey level): 1",
        "pictures with several labels, in any split: 1",
        "validation rows whose picture is in train too: 1",
        "train rows whose picture is in validation too: 1",
        "rows without a face, say all ten FER+ taggers: 1",
        "label is FER+'s most-voted class: 11.5% of 61 rows",
        "rows with a tie / without a vote for a class: 1 / 1",
        "on reading, left out 1: wrong number of pixels (fer2013.csv:65)",
        "for training, left out 1: constant picture in training (fer2013.csv:2)",
        "for training, keep 50 of 56 rows; other splits keep all",
        f"report with pictures: {folder / 'report.html'}",
    ):
        assert line in said


def test_the_page_holds_all_its_pictures_and_needs_nothing(explored: tuple[str, Path]) -> None:
    text = (explored[1] / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    assert not page.tags & {"script", "link", "iframe"}
    assert not re.search(r"https?://", text)
    assert page.headings == [
        "What was found",
        "What was left out on reading",
        "What training leaves out",
        "Samples of each class",
        "Mean faces",
        "Agreement with FER+",
        "Brightness and contrast",
        "Darkest",
        "Brightest",
        "Least contrast",
        "Constant pictures",
        "Identical pictures, different labels",
        "Most repeated pictures",
        "In training, and in validation or test",
        "No face, say all ten FER+ taggers",
    ]
    assert len(page.pictures) == 13
    for name, png in page.pictures:
        image = cv2.imdecode(np.frombuffer(png, dtype=np.uint8), cv2.IMREAD_GRAYSCALE)
        assert image is not None, name
        assert image.std() > 10, f"{name} is blank"
    assert [path.name for path in explored[1].iterdir()] == ["report.html"]


def test_data_that_cannot_be_trained_on_can_be_explored(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [csv_row(3, image) for image in pictures(3)]
    assert command("--data", write_rows(tmp_path / "fer2013.csv", rows), "--out", tmp_path) == 0
    said = capsys.readouterr().out
    assert "no angry in train; no disgust in train" in said
    assert "no happy" not in said


def test_one_constant_picture(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "fer2013.csv", [csv_row(3, np.zeros((1, 48, 48), dtype=np.uint8))])
    assert command("--data", path, "--out", tmp_path) == 0


def test_folders_are_explored_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("happy", "zen"):
        for index, image in enumerate(pictures(10, 30, len(name))):
            write_picture(tmp_path / "data" / name / f"{index}.png", image)
    (tmp_path / "data" / "zen" / "readme.txt").write_text("x")
    assert command("--data", tmp_path / "data", "--size", "64", "--out", tmp_path) == 0
    said = capsys.readouterr().out
    assert "20 pictures of 64x64, 2 classes" in said
    assert "on reading, left out 1: not a picture file (zen/readme.txt)" in said
    assert "test rows whose picture is in train too: 0" in said
    assert "FER+" not in said


def test_bad_input_is_an_error_of_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        command("--data", tmp_path / "none.csv", "--out", tmp_path)


@given(st.integers(1, 30).flatmap(lambda n: st.tuples(
    npst.arrays(np.int64, n, elements=st.integers(0, 2)),
    npst.arrays(np.float32, (n, 3), elements=st.integers(0, 10).map(float)),
)))  # fmt: skip
def test_agreement_by_its_definition(rows: tuple[np.ndarray, np.ndarray]) -> None:
    labels, votes = rows
    measured = explore.measure_agreement(labels, votes)
    agreeing = single = ties = unvoted = 0
    for label, row in zip(labels.tolist(), votes.tolist(), strict=True):
        winners = [index for index, count in enumerate(row) if count == max(row)]
        if max(row) == 0:
            unvoted += 1
        elif len(winners) > 1:
            ties += 1
        else:
            single += 1
            agreeing += winners == [label]
    assert (measured.ties, measured.unvoted, int(measured.matrix.sum())) == (ties, unvoted, single)
    assert np.trace(measured.matrix) == agreeing
    assert measured.share == pytest.approx(agreeing / single) if single else np.isnan(measured.share)
    assert measured.sure[1] == (votes.max(axis=1) > 5).sum()


def test_the_real_rows(fer_raw: Dataset) -> None:
    seen = explore.explore(fer_raw, "fer2013.csv")
    found = dict(explore.finding_rows(seen))
    assert found["different pictures"] == "30766 of 32298"
    assert found["validation rows whose picture is in train too"] == "280"
    assert found["constant pictures (one grey level)"] == "12"
    assert len(seen.most_repeated) == explore.SHEET
    repeats = [len(rows) for rows in seen.most_repeated]
    assert repeats == sorted(repeats, reverse=True)
    for rows in seen.conflicts:
        assert len({fer_raw.images[row].tobytes() for row in rows}) == 1
        assert len(set(fer_raw.labels[rows].tolist())) > 1


def test_exploring_changes_nothing(tmp_path: Path) -> None:
    fer, plus = flawed(tmp_path)
    data = read_dataset(fer, ferplus=plus)
    before = data.images.copy(), data.labels.copy(), {reason: list(rows) for reason, rows in data.dropped.items()}
    seen = explore.explore(data, "x")
    explore.summary(seen)
    explore_pictures.mean_faces(data)
    assert (data.images == before[0]).all()
    assert (data.labels == before[1]).all()
    assert data.dropped == before[2]
