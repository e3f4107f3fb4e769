"""``python -m train explore``: what a data set is like, in figures on standard output and pictures in one HTML page."""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from train import explore_pictures as draw
from train.checkpoint import write_text
from train.data import TRAIN, Dataset, read_dataset
from train.hygiene import Findings, clean, inspect
from train.progress import watched
from train.report import heading, page, paragraph, picture, table

REPORT = "report.html"
SHEET = 32
"""Pictures in a sheet at most."""


@dataclass(frozen=True)
class Exploration:
    """A data set as it is read, and what is found in it."""

    source: str
    data: Dataset
    found: Findings
    for_training: Dataset
    """After hygiene; its ``dropped`` holds what hygiene left out, and nothing else."""

    @cached_property
    def counts(self) -> dict[str, NDArray[np.int64]]:
        """split -> (C,) rows of each class."""
        return self.data.class_counts()

    @cached_property
    def missing(self) -> list[str]:
        """Every class that a split lacks, in words."""
        return [
            f"no {name} in {split}"
            for split, counts in self.counts.items()
            for name, count in zip(self.data.classes, counts, strict=True)
            if count == 0
        ]

    @cached_property
    def conflicts(self) -> list[NDArray[np.int64]]:
        """Rows, of any split, of each picture that has several labels."""
        labels = np.zeros((self.found.unique, len(self.data.classes)), dtype=bool)
        labels[self.found.group, self.data.labels] = True
        return [np.flatnonzero(self.found.group == group) for group in np.flatnonzero(labels.sum(axis=1) > 1)]

    @cached_property
    def most_repeated(self) -> list[NDArray[np.int64]]:
        """Rows of each picture that occurs more than once, the most frequent first."""
        times = np.bincount(self.found.group, minlength=self.found.unique)
        order = np.argsort(-times, kind="stable")
        return [np.flatnonzero(self.found.group == group) for group in order[:SHEET] if times[group] > 1]

    def shared_rows(self, split: str, other: str) -> int:
        """How many rows of ``split`` have a picture that ``other`` has too."""
        groups = self.found.group
        return int(np.isin(groups[self.data.splits == split], groups[self.data.splits == other]).sum())

    @cached_property
    def overlaps(self) -> list[tuple[str, str, int]]:
        """(split, other, rows of split whose picture is in other too) for all splits that are there."""
        there = list(self.counts)
        return [(split, other, self.shared_rows(split, other)) for other in there for split in there if split != other]

    @cached_property
    def levels(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(N,) mean grey level (brightness) and (N,) standard deviation (contrast) of each picture."""
        # One picture at a time: all of them as floats would take eight times the memory of the data.
        moments = np.array([(image.mean(), image.std()) for image in self.data.images]).reshape(-1, 2)
        return moments[:, 0], moments[:, 1]

    @cached_property
    def agreement(self) -> "Agreement | None":
        return None if self.data.votes is None else measure_agreement(self.data.labels, self.data.votes)


@dataclass(frozen=True)
class Agreement:
    """Labels against the FER+ taggers' plurality, among the classes at hand."""

    matrix: NDArray[np.int64]
    """(C, C) rows by [label, most-voted class]; rows without votes or with a tie are not in it."""
    ties: int
    """Rows where two classes have the most votes."""
    unvoted: int
    """Rows without a vote for any class (no face, unknown or another emotion)."""
    sure: NDArray[np.int64]
    """[agreeing, all] rows where more than half of the ten taggers chose one class."""

    @property
    def share(self) -> float:
        """Of the rows in ``matrix``, those whose label is the most-voted class; nan without any."""
        return float(np.trace(self.matrix) / self.matrix.sum()) if self.matrix.any() else float("nan")


def measure_agreement(labels: NDArray[np.int64], votes: NDArray[np.float32]) -> Agreement:
    """labels: (N,), votes: (N, C) unnormalized."""
    best, most = votes.argmax(axis=1), votes.max(axis=1)
    tied = (votes == most[:, None]).sum(axis=1) > 1
    voted, single = most > 0, (most > 0) & ~tied
    matrix = np.zeros((votes.shape[1], votes.shape[1]), dtype=np.int64)
    np.add.at(matrix, (labels[single], best[single]), 1)
    sure = most > 5
    return Agreement(
        matrix=matrix,
        ties=int((voted & tied).sum()),
        unvoted=int((~voted).sum()),
        sure=np.array([(best == labels)[sure].sum(), sure.sum()]),
    )


def explore(data: Dataset, source: str) -> Exploration:
    """data: as read, not cleaned. source: its name, for titles."""
    return Exploration(source, data, inspect(data), clean(replace(data, dropped={})))


def count_rows(seen: Exploration) -> list[list[str]]:
    """The table of class counts: one row a class, one column a split, and the sum."""
    rows = []
    for index, name in enumerate(seen.data.classes):
        counts = [int(counts[index]) for counts in seen.counts.values()]
        rows.append([name, *map(str, counts), str(sum(counts)), f"{sum(counts) / max(1, len(seen.data)):.1%}"])
    totals = [int(counts.sum()) for counts in seen.counts.values()]
    return [*rows, ["all", *map(str, totals), str(len(seen.data)), "100.0%"]]


def finding_rows(seen: Exploration) -> list[tuple[str, str]]:
    """What was found, in words and figures."""
    data, found = seen.data, seen.found
    unusable = sum(len(origins) for origins in data.dropped.values())
    brightness, contrast = seen.levels
    rows = [
        ("rows or files left out on reading", str(unusable)),
        ("classes missing from a split", "; ".join(seen.missing) or "none"),
        ("different pictures", f"{found.unique} of {len(data)}"),
        ("training rows that repeat an earlier one", str(int(found.repeated.sum()))),
        ("constant pictures (one grey level)", str(int(found.constant.sum()))),
        ("pictures with several labels, in any split", str(len(seen.conflicts))),
        *((f"{a} rows whose picture is in {b} too", str(count)) for a, b, count in seen.overlaps),
        ("brightness (mean grey level), 5th, 50th, 95th percentile", _percentiles(brightness)),
        ("contrast (standard deviation of grey levels), the same", _percentiles(contrast)),
    ]
    if data.no_face is not None:
        rows.append(("rows without a face, say all ten FER+ taggers", str(int(data.no_face.sum()))))
    if seen.agreement is not None:
        agreed, sure = seen.agreement.sure
        rows += [
            ("label is FER+'s most-voted class", f"{seen.agreement.share:.1%} of {seen.agreement.matrix.sum()} rows"),
            ("  where more than 5 of 10 taggers agree", f"{agreed / max(1, sure):.1%} of {sure} rows"),
            ("  rows with a tie / without a vote for a class", f"{seen.agreement.ties} / {seen.agreement.unvoted}"),
        ]
    return rows


def hygiene_lines(seen: Exploration) -> list[str]:
    """What training will leave out, and how many rows it keeps."""
    before, after = (int((each.splits == TRAIN).sum()) for each in (seen.data, seen.for_training))
    return [*seen.for_training.dropped_lines(), f"keep {after} of {before} rows; other splits keep all"]


def summary(seen: Exploration) -> str:
    """The text for standard output."""
    head = ["class", *seen.counts, "all", "share"]
    side = seen.data.images.shape[1]
    return "\n".join(
        [
            f"{seen.source}: {len(seen.data)} pictures of {side}x{side}, {len(seen.data.classes)} classes",
            "",
            *_aligned([head, *count_rows(seen)]),
            "",
            *(f"{what}: {value}" for what, value in finding_rows(seen)),
            "",
            *(f"on reading, {line}" for line in seen.data.dropped_lines()),
            *(f"for training, {line}" for line in hygiene_lines(seen)),
        ]
    )


def html_report(seen: Exploration) -> str:
    """One self-contained page."""
    return page(f"The data of {seen.source}", list(watched(_parts(seen), "drawing the report")))


def _parts(seen: Exploration) -> Iterator[str]:
    data = seen.data
    brightness, contrast = seen.levels
    yield picture(draw.class_counts(seen.counts, data.classes), "rows of each class in each split")
    yield table(["class", *seen.counts, "all", "share"], count_rows(seen))
    yield heading("What was found")
    yield table(("", ""), finding_rows(seen))
    if data.dropped:
        yield heading("What was left out on reading")
        yield from (paragraph(line) for line in data.dropped_lines())
    yield heading("What training leaves out")
    yield from (paragraph(line) for line in hygiene_lines(seen))

    yield heading("Samples of each class")
    yield paragraph("Drawn at random from the training rows (from all where there are none).")
    yield picture(draw.samples(data, np.random.default_rng(0)), "samples of each class")

    yield heading("Mean faces")
    yield paragraph(
        "Above, the mean of each class's pictures: what they share. Below, the same minus the mean of all: red is "
        "brighter, blue is darker than the mean face."
    )
    yield picture(draw.mean_faces(data), "mean face of each class")

    if seen.agreement is not None:
        yield heading("Agreement with FER+")
        yield paragraph("Rows with one most-voted class; shares of each label's rows, counts below.")
        yield picture(draw.agreement(seen.agreement.matrix, data.classes), "label against FER+'s most-voted class")

    yield heading("Brightness and contrast")
    yield picture(draw.levels(brightness, contrast, data), "brightness and contrast of each class")
    for title, rows, note in _sheets(seen):
        if len(rows):
            yield heading(title)
            yield paragraph(note)
            yield picture(draw.sheet(data, rows), title)


def _sheets(seen: Exploration) -> Iterator[tuple[str, NDArray[np.int64], str]]:
    """(title, rows to show, note); the first SHEET of many."""
    found, (brightness, contrast) = seen.found, seen.levels
    varied = np.flatnonzero(~found.constant)  # constant pictures have a sheet of their own
    by_brightness = varied[np.argsort(brightness[varied], kind="stable")]
    by_contrast = varied[np.argsort(contrast[varied], kind="stable")]
    pairs = [row for rows in seen.conflicts for row in _differing(rows, seen.data.labels)]
    repeated = [rows[0] for rows in seen.most_repeated]
    left_out = "Training leaves these out"
    yield "Darkest", by_brightness[:SHEET], "The lowest mean grey levels, lowest first."
    yield "Brightest", by_brightness[::-1][:SHEET], "The highest mean grey levels, highest first."
    yield "Least contrast", by_contrast[:SHEET], "The lowest standard deviations, lowest first."
    yield "Constant pictures", np.flatnonzero(found.constant)[:SHEET], f"One grey level all over. {left_out}."
    yield "Identical pictures, different labels", np.array(pairs[:SHEET], dtype=np.int64), f"In pairs. {left_out}."
    yield "Most repeated pictures", np.array(repeated, dtype=np.int64), "The first of each group, largest group first."
    yield (
        "In training, and in validation or test",
        np.flatnonzero(found.leaked)[:SHEET],
        f"{left_out}: a score on pictures seen in training says nothing.",
    )
    yield "No face, say all ten FER+ taggers", np.flatnonzero(found.no_face)[:SHEET], f"{left_out}."


def _differing(rows: NDArray[np.int64], labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Two of the rows whose labels differ."""
    return rows[[0, int(np.argmax(labels[rows] != labels[rows[0]]))]]


def _percentiles(values: NDArray[np.float64]) -> str:
    return ", ".join(f"{value:.0f}" for value in np.percentile(values, (5, 50, 95)))


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, required=True, help="fer2013.csv, ckextended.csv or a folder of pictures")
    parser.add_argument("--ferplus", type=Path, help="fer2013new.csv, the FER+ votes that belong to fer2013.csv")
    parser.add_argument("--size", type=int, default=48, help="side in pixels to scale the pictures to (48)")
    parser.add_argument("--seed", type=int, default=0, help="of the 80/10/10 split where the data has none (0)")
    parser.add_argument("--out", type=Path, default=Path("out/explore"), help=f"folder for {REPORT} (out/explore)")


def run(args: argparse.Namespace) -> int:
    data = read_dataset(args.data, ferplus=args.ferplus, size=args.size, seed=args.seed)
    seen = explore(data, args.data.name)
    print(summary(seen), flush=True)
    write_text(args.out / REPORT, html_report(seen))
    print(f"\nreport with pictures: {args.out / REPORT}")
    return 0
