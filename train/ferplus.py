"""FER+ (fer2013new.csv): ten taggers' votes for every FER-2013 row, joined by row position.

Its file names are no key: four occur twice, and the rows that show no face have none.
Source: Barsoum et al., Training Deep Networks for Facial Expression Recognition with Crowd-Sourced Label
Distribution, ICMI 2016, https://github.com/microsoft/FERPlus.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge.errors import DataError
from train.classnames import canonical
from train.pixel_csv import USAGES, PixelRows, open_csv, require_columns

EMOTIONS = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt")
VOTES = (*EMOTIONS, "unknown", "nf")
TAGGERS = 10
MEND = "use the fer2013new.csv that belongs to this file, complete and in its published order"


def read_ferplus(path: Path) -> tuple[NDArray[np.str_], NDArray[np.int64], NDArray[np.int64]]:
    """Returns the (M,) split and the (M, 10) votes of each row, in VOTES' order, and its (M,) line number.

    Raises DataError for a file that is no such CSV; a row that can't be read is fatal, for all after it would shift.
    """
    splits, votes, lines = [], [], []
    with open_csv(path) as (columns, content):
        require_columns(path, columns, ("usage", *VOTES), MEND)
        usage_at, vote_at = columns.index("usage"), [columns.index(name) for name in VOTES]
        for line, cells in content:
            try:
                counts = [int(cells[at]) for at in vote_at]
                splits.append(USAGES[cells[usage_at].lower()])
                if min(counts) < 0:
                    raise ValueError
            except (ValueError, LookupError) as error:
                raise DataError(
                    f"{path}:{line} expected a Usage and ten vote counts, got {cells!r:.120}; {MEND}"
                ) from error
            votes.append(counts)
            lines.append(line)
    if not votes:
        raise DataError(f"{path} has a header but no rows; {MEND}")
    return np.array(splits, dtype="<U16"), np.array(votes, dtype=np.int64), np.array(lines, dtype=np.int64)


def join_ferplus(
    path: Path, rows: PixelRows, source: Path, classes: tuple[str, ...]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """The (N, C) votes for ``classes`` of the rows of ``source``, and the (N,) rows that show no face.

    A complete FER+ file fits a FER-2013 file without PrivateTest rows too: splits that the latter lacks are skipped.
    Raises DataError where the number of rows, or the Usage of any, differs.
    """
    splits, votes, lines = read_ferplus(path)
    if rows.splits is not None and len(votes) > rows.total:
        there = np.isin(splits, np.unique(rows.splits))
        splits, votes, lines = splits[there], votes[there], lines[there]
    if len(votes) != rows.total:
        raise DataError(f"expected {rows.total} rows as in {source.name}, {path} has {len(votes)}; {MEND}")
    splits, votes, lines = splits[rows.positions], votes[rows.positions], lines[rows.positions]
    if rows.splits is not None and (splits != rows.splits).any():
        first = int(np.flatnonzero(splits != rows.splits)[0])
        raise DataError(
            f"{path}:{lines[first]} is a {splits[first]} row, {source.name}:{rows.lines[first]} a {rows.splits[first]} "
            f"row; {MEND}"
        )
    by_class = np.zeros((len(votes), len(classes)), dtype=np.float32)
    for column, name in enumerate(EMOTIONS):
        if canonical(name) in classes:
            by_class[:, classes.index(canonical(name))] = votes[:, column]
    return by_class, votes[:, VOTES.index("nf")] == TAGGERS
