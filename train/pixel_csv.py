"""CSV files with one picture a row: fer2013.csv, icml_face_data.csv, ckextended.csv."""

import csv
import math
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge.errors import DataError
from train.dataset import TEST, TRAIN, VALIDATION
from train.progress import watched

COLUMNS = ("emotion", "pixels", "usage")
USAGES = {"training": TRAIN, "publictest": VALIDATION, "privatetest": TEST}
MAX_BAD_SHARE = 0.02
"""Single bad rows are left out and named; a file with a larger share of them is refused."""
MEND = "name them so; a file of emotion and pixels alone has its rows dealt out to splits at random"
LONGEST_FIELD = 1 << 24
"""Characters; the csv module's own limit of 131,072 would refuse a 224x224 picture."""


@dataclass(frozen=True)
class PixelRows:
    """The good rows of one file, in order."""

    images: NDArray[np.uint8]
    """(N, S, S)."""
    codes: NDArray[np.int64]
    """(N,) the emotion column."""
    splits: NDArray[np.str_] | None
    """(N,) of train, validation, test; None where there is no Usage column, or it was not asked for."""
    lines: NDArray[np.int64]
    """(N,) line numbers in the file, the header being 1."""
    positions: NDArray[np.int64]
    """(N,) which row of the file each is, from 0, the bad ones counted: FER+ is joined by it."""
    total: int
    """Rows in the file, the bad ones counted."""
    dropped: dict[str, list[str]] = field(default_factory=dict)
    """reason -> ``file:line`` of the bad rows."""


@contextmanager
def open_csv(path: Path) -> Iterator[tuple[list[str], Iterator[tuple[int, list[str]]]]]:
    """A CSV's columns (lowered) and an iterator of (line number, cells) over its rows that are not blank.

    Spaces and quotes about a cell are taken away.

    Raises DataError where it can't be opened, is empty, or is no text that the csv module can read.
    """

    def rows() -> Iterator[tuple[int, list[str]]]:
        try:
            for cells in reader:
                if cells:
                    yield reader.line_num, [cell.strip().strip('"') for cell in cells]
        except (csv.Error, OSError) as error:
            raise DataError(
                f"{path}:{reader.line_num} can't be read as CSV ({error}); download the file again"
            ) from error

    try:
        file = path.open(newline="", encoding="utf-8-sig", errors="replace")
    except OSError as error:
        raise DataError(f"can't open {path} ({error.strerror}); check the path and its permissions") from error
    with file:
        csv.field_size_limit(LONGEST_FIELD)
        # No cell holds a comma, so quotes mean nothing: a stray one must not swallow the rows after it.
        reader = csv.reader(file, quoting=csv.QUOTE_NONE)
        content = rows()
        header = next(content, None)
        if header is None:
            raise DataError(f"{path} is empty; expected a CSV file with a header line, download it again")
        yield [cell.lower() for cell in header[1]], content


def require_columns(path: Path, found: list[str], wanted: tuple[str, ...], mend: str) -> None:
    """Raises DataError that names the columns of ``wanted`` (lowered) that the file lacks."""
    missing = [name for name in wanted if name not in found]
    if missing:
        start = ", ".join(repr(name[:20]) for name in found[:6])
        raise DataError(
            f"{path}:1 expected the columns {', '.join(wanted)}, missing {', '.join(missing)}, found {start}; {mend}"
        )


def read_pixel_csv(path: Path, class_count: int, *, with_usage: bool = True) -> PixelRows:
    """Read a file with the columns ``emotion``, ``pixels`` (grey levels 0..255 between spaces) and ``Usage``.

    Columns may come in any order, their names in any case and with spaces about them; Usage may be missing from a file
    that has the other two alone. The pictures are square, of the size most rows have. class_count: the emotion column
    holds 0..class_count-1.

    Raises DataError for a file that is no such CSV, has no row, or more than MAX_BAD_SHARE of bad rows.
    """
    pictures: list[NDArray[np.uint8]] = []
    codes, splits, lines, positions = [], [], [], []
    bad: list[tuple[int, str, str]] = []  # line, reason, detail
    total = 0
    with open_csv(path) as (columns, content):
        if sorted(columns) == ["emotion", "pixels"]:
            with_usage = False  # the challenge's own train.csv
        require_columns(path, columns, COLUMNS if with_usage else COLUMNS[:2], MEND)
        emotion_at, pixels_at = columns.index("emotion"), columns.index("pixels")
        usage_at = columns.index("usage") if with_usage else 0
        for total, (line, cells) in enumerate(watched(content, f"reading {path.name}"), 1):
            try:
                if len(cells) <= max(emotion_at, pixels_at, usage_at):
                    raise _BadRowError("too few columns", f"{len(cells)} columns instead of {len(columns)}")
                code = _code(cells[emotion_at], class_count)
                split = _split(cells[usage_at]) if with_usage else TRAIN
                picture = _pixels(cells[pixels_at])
            except _BadRowError as error:
                bad.append((line, *error.args))
                continue
            pictures.append(picture)
            codes.append(code)
            splits.append(split)
            lines.append(line)
            positions.append(total - 1)
    if total == 0:
        raise DataError(f"{path} has a header but no rows; download it again")
    sizes = Counter(len(picture) for picture in pictures)
    pixel_count = sizes.most_common(1)[0][0] if sizes else 0
    side = math.isqrt(pixel_count)
    if sizes and (side == 0 or side * side != pixel_count):
        raise DataError(
            f"{path}:{lines[0]} expected a square picture such as 48x48 = 2304 pixels, most rows have {pixel_count}; "
            "download the file again"
        )
    keep = np.array([len(picture) == pixel_count for picture in pictures], dtype=bool)
    for index in np.flatnonzero(~keep):
        detail = f"{len(pictures[index])} pixels instead of {side}x{side} = {pixel_count}"
        bad.append((lines[index], "wrong number of pixels", detail))
    bad.sort()
    if len(bad) > MAX_BAD_SHARE * total:
        line, _, detail = bad[0]
        raise DataError(
            f"{path}:{line} has {detail}, the first of {len(bad)} bad rows of {total}; mend them or download it again"
        )
    dropped: dict[str, list[str]] = {}
    for line, reason, _ in bad:
        dropped.setdefault(reason, []).append(f"{path.name}:{line}")
    return PixelRows(
        images=np.stack([p for p, good in zip(pictures, keep, strict=True) if good]).reshape(-1, side, side),
        codes=np.array(codes, dtype=np.int64)[keep],
        splits=np.array(splits, dtype="<U16")[keep] if with_usage else None,
        lines=np.array(lines, dtype=np.int64)[keep],
        positions=np.array(positions, dtype=np.int64)[keep],
        total=total,
        dropped=dropped,
    )


class _BadRowError(Exception):
    """args: the reason (a key of ``dropped``) and what this row has instead."""


def _code(text: str, class_count: int) -> int:
    if not re.fullmatch(r"-?[0-9]{1,9}", text):
        raise _BadRowError(
            "emotion that is not a whole number", f"emotion {text[:20]!r} instead of 0..{class_count - 1}"
        )
    code = int(text)
    if not 0 <= code < class_count:
        hint = " (7 is contempt, which only ckextended.csv has)" if code == 7 else ""
        raise _BadRowError(
            f"emotion outside 0..{class_count - 1}", f"emotion {code} outside 0..{class_count - 1}{hint}"
        )
    return code


def _split(text: str) -> str:
    split = USAGES.get(text.lower())
    if split is None:
        raise _BadRowError("unknown Usage", f"Usage {text[:20]!r} instead of Training, PublicTest or PrivateTest")
    return split


def _pixels(text: str) -> NDArray[np.uint8]:
    try:
        values = np.fromstring(text, dtype=np.int64, sep=" ")
    except ValueError as error:
        raise _BadRowError("pixels that are not numbers", "pixels that are not numbers between spaces") from error
    if len(values) == 0:
        raise _BadRowError("no pixels", "no pixels")
    low, high = int(values.min()), int(values.max())
    if low < 0 or high > 255:
        raise _BadRowError("pixels outside 0..255", f"a pixel of {low if low < 0 else high} outside 0..255")
    return values.astype(np.uint8)
