"""fer2013.csv and its kin: what is read, what is left out and named, what is refused."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge.errors import DataError
from tests.train.faces import csv_row, pictures, write_rows
from train.pixel_csv import read_pixel_csv

PER_EXAMPLE = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def refused(path: Path, said: str) -> str:
    with pytest.raises(DataError, match=said) as caught:
        read_pixel_csv(path, 7)
    message = str(caught.value)
    assert path.name in message
    assert len(message.splitlines()) == 1
    return message


@PER_EXAMPLE
@given(
    st.integers(1, 9).flatmap(
        lambda side: st.lists(
            st.tuples(
                st.integers(0, 6),
                st.sampled_from(["Training", "PublicTest", "PrivateTest"]),
                st.binary(min_size=side * side, max_size=side * side),
            ),
            min_size=1,
            max_size=8,
        )
    ),
    st.sampled_from(["emotion,pixels,Usage", "emotion, pixels, Usage", "Emotion,Pixels,usage"]),
)
def test_what_is_written_is_read(tmp_path: Path, rows: list[tuple[int, str, bytes]], header: str) -> None:
    lines = [csv_row(code, np.frombuffer(data, np.uint8), usage) for code, usage, data in rows]
    read = read_pixel_csv(write_rows(tmp_path / "x.csv", lines, header), 7)
    assert read.codes.tolist() == [code for code, _, _ in rows]
    assert [image.tobytes() for image in read.images] == [data for _, _, data in rows]
    names = {"Training": "train", "PublicTest": "validation", "PrivateTest": "test"}
    assert read.splits is not None
    assert read.splits.tolist() == [names[usage] for _, usage, _ in rows]
    assert read.lines.tolist() == list(range(2, len(rows) + 2))
    assert read.total == len(rows)
    assert not read.dropped


@PER_EXAMPLE
@given(st.binary(max_size=400))
def test_any_bytes_are_read_or_refused_in_one_line(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(data)
    refused(path, "x.csv")


@PER_EXAMPLE
@given(
    st.lists(st.text(st.characters(exclude_characters='",\r\n\0', exclude_categories=["Cs"]), max_size=12), max_size=3)
)
def test_any_cells_are_read_or_named(tmp_path: Path, cells: list[str]) -> None:
    good = [csv_row(1, image) for image in pictures(60, 2)]
    path = tmp_path / "x.csv"
    path.write_text("\n".join(["emotion,pixels,Usage", *good, ",".join(cells)]) + "\n", encoding="utf-8")
    read = read_pixel_csv(path, 7)
    named = [origin for origins in read.dropped.values() for origin in origins]
    assert len(read.codes) + len(named) == read.total
    # A cell may hold a character that ends a line for str.splitlines, never for a CSV: one row, one name.
    assert set(named) <= {"x.csv:62"}


def test_the_icml_header_and_column_order(tmp_path: Path) -> None:
    image = pictures(1)[0]
    row = f"3,PublicTest,{' '.join(map(str, image.ravel()))}"
    read = read_pixel_csv(write_rows(tmp_path / "icml_face_data.csv", [row], "emotion, Usage, pixels"), 7)
    assert (read.images[0] == image).all()
    assert read.splits is not None
    assert (read.codes[0], read.splits[0]) == (3, "validation")


def test_byte_order_mark_windows_line_ends_and_blank_lines(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    rows = [csv_row(0, image) for image in pictures(2, 4)]
    path.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(["emotion,pixels,Usage", rows[0], "", rows[1], "", ""]).encode())
    read = read_pixel_csv(path, 7)
    assert read.lines.tolist() == [2, 4]
    assert read.positions.tolist() == [0, 1]


def test_quoted_cells(tmp_path: Path) -> None:
    rows = ['"1","1 2 3 4","Training"', '"2","5 6 7 8","PublicTest"']
    read = read_pixel_csv(write_rows(tmp_path / "x.csv", rows, '"emotion","pixels","Usage"'), 7)
    assert read.images.reshape(2, 4).tolist() == [[1, 2, 3, 4], [5, 6, 7, 8]]


def test_a_stray_quote_costs_one_row(tmp_path: Path) -> None:
    good = [csv_row(1, image) for image in pictures(60, 2)]
    read = read_pixel_csv(write_rows(tmp_path / "x.csv", [*good[:10], '1,"1 2 3,Training', *good[10:]]), 7)
    assert read.dropped == {"wrong number of pixels": ["x.csv:12"]}
    assert len(read.codes) == 60


def test_pictures_larger_than_the_csv_modules_own_limit(tmp_path: Path) -> None:
    image = np.full((1, 224, 224), 200, dtype=np.uint8)
    assert read_pixel_csv(write_rows(tmp_path / "x.csv", [csv_row(0, image)]), 7).images.shape == (1, 224, 224)


def bad_rows() -> dict[str, str]:
    image = pictures(1, seed=9)[0]
    pixels = " ".join(map(str, image.ravel()))
    return {
        "wrong number of pixels": f"1,{pixels.rsplit(' ', 1)[0]},Training",
        "no pixels": "1,,Training",
        "pixels that are not numbers": f"1,{pixels} x,Training",
        "pixels outside 0..255": f"1,{pixels.rsplit(' ', 1)[0]} 256,Training",
        "emotion outside 0..6": f"7,{pixels},Training",
        "emotion that is not a whole number": f"1.5,{pixels},Training",
        "emotion that is not a whole number ": f"--1,{pixels},Training",
        "emotion that is not a whole number  ": f"{'9' * 5000},{pixels},Training",
        "unknown Usage": f"1,{pixels},Trainning",
        "too few columns": f"1,{pixels}",
    }


@pytest.mark.parametrize("reason", bad_rows())
def test_a_single_bad_row_is_left_out_and_named(tmp_path: Path, reason: str) -> None:
    good = [csv_row(1, image) for image in pictures(60)]
    read = read_pixel_csv(write_rows(tmp_path / "x.csv", [*good[:10], bad_rows()[reason], *good[10:]]), 7)
    assert read.dropped == {reason.strip(): ["x.csv:12"]}
    assert len(read.codes) == 60
    assert read.total == 61
    assert read.positions.tolist() == [*range(10), *range(11, 61)]


@pytest.mark.parametrize("reason", bad_rows())
def test_a_file_with_many_bad_rows_is_refused(tmp_path: Path, reason: str) -> None:
    good = [csv_row(1, image) for image in pictures(3)]
    said = refused(write_rows(tmp_path / "x.csv", [*good, bad_rows()[reason]]), "1 bad rows of 4")
    assert "x.csv:5 has" in said


def test_a_negative_pixel(tmp_path: Path) -> None:
    refused(write_rows(tmp_path / "x.csv", ["1,0 0 0 -1,Training"]), "a pixel of -1 outside")


def test_contempt_is_explained(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "x.csv", [csv_row(7, pictures(1)[0])])
    refused(path, "emotion 7 outside 0..6 .7 is contempt, which only ckextended.csv has")
    assert read_pixel_csv(path, 8).codes.tolist() == [7]


def test_rows_that_are_no_squares(tmp_path: Path) -> None:
    refused(write_rows(tmp_path / "x.csv", ["1,1 2 3,Training", "2,4 5 6,Training"]), "most rows have 3")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "is empty"),
        ("\n\n", "is empty"),
        ("emotion,pixels,Usage\n", "header but no rows"),
        ("emotion,Usage\n1,Training\n", "missing pixels, found 'emotion', 'usage'"),
        ("1,2 3 4 5,Training\n", "missing emotion, pixels, usage"),
        (
            "emotion,pixels,Usgae\n1,1 2 3 4,Training\n",
            "missing usage, found 'emotion', 'pixels', 'usgae'; name them so",
        ),
    ],
)
def test_files_that_are_no_data_set(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "x.csv"
    path.write_text(content)
    refused(path, said)


def test_usage_may_be_missing_where_the_other_two_are_alone(tmp_path: Path) -> None:
    read = read_pixel_csv(write_rows(tmp_path / "x.csv", ["1,1 2 3 4"], "emotion,pixels"), 7)
    assert read.splits is None
    assert read.images.tolist() == [[[1, 2], [3, 4]]]


def test_a_file_that_cannot_be_opened(tmp_path: Path) -> None:
    refused(tmp_path, "can't open")
