"""The record all of training works on: labelled grey pictures of one size."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from edge.errors import DataError
from train.classnames import choose

TRAIN, VALIDATION, TEST = "train", "validation", "test"
"""FER-2013's Usage: Training, PublicTest, PrivateTest."""
SPLITS = (TRAIN, VALIDATION, TEST)


@dataclass(frozen=True)
class Dataset:
    """N labelled grey pictures of one size."""

    images: NDArray[np.uint8]
    """(N, H, W) uint8 grey 0..255."""
    labels: NDArray[np.int64]
    """(N,) indices into ``classes``."""
    splits: NDArray[np.str_]
    """(N,) of train, validation, test."""
    classes: tuple[str, ...]
    votes: NDArray[np.float32] | None = None
    """(N, C) FER+ taggers' votes for ``classes``, unnormalized; a row without votes is all zero. None: no FER+."""
    origins: tuple[str, ...] = ()
    """(N,) where each came from: ``fer2013.csv:123`` (line) or a file's path."""
    dropped: dict[str, list[str]] = field(default_factory=dict)
    """What was left out and why: reason -> origins. Nothing is dropped silently."""
    no_face: NDArray[np.bool_] | None = None
    """(N,) True where all ten FER+ taggers saw no face (NF = 10). None: no FER+."""

    def __len__(self) -> int:
        return len(self.labels)

    def rows(self, keep: NDArray[np.bool_] | NDArray[np.int64]) -> "Dataset":
        """The rows of a (N,) mask, or of indices in the order given; nothing is added to ``dropped``."""
        index = np.flatnonzero(keep) if keep.dtype == np.bool_ else keep
        return replace(
            self,
            images=self.images[index],
            labels=self.labels[index],
            splits=self.splits[index],
            votes=None if self.votes is None else self.votes[index],
            origins=tuple(self.origins[i] for i in index) if self.origins else (),
            no_face=None if self.no_face is None else self.no_face[index],
        )

    def subset(self, split: str) -> "Dataset":
        """The rows of one split, in order. Raises DataError where the data has none of it."""
        chosen = self.splits == split
        if not chosen.any():
            there = [name for name in SPLITS if (self.splits == name).any()]
            raise DataError(f"expected rows of the {split} split, the data has only {', '.join(there) or 'none'}")
        return self.rows(chosen)

    def drop(self, reasons: dict[str, NDArray[np.bool_]]) -> "Dataset":
        """Without the rows of each reason's (N,) mask, which are listed in ``dropped`` under the first that applies."""
        dropped = {reason: list(origins) for reason, origins in self.dropped.items()}
        gone = np.zeros(len(self), dtype=bool)
        for reason, mask in reasons.items():
            new = np.flatnonzero(mask & ~gone)
            if len(new):
                dropped.setdefault(reason, []).extend(self.origins[i] if self.origins else f"row {i}" for i in new)
            gone |= mask
        return replace(self.rows(~gone), dropped=dropped)

    def select(self, wanted: Sequence[str], source: str = "the data") -> "Dataset":
        """Only the ``wanted`` classes (synonyms are understood), relabelled in the order wanted.

        Raises DataError for a class that is not there, a repeated one, or fewer than two.
        """
        names = choose(wanted, self.classes, source)
        if names == self.classes:
            return self
        others = {
            f"class not wanted: {name}": self.labels == index
            for index, name in enumerate(self.classes)
            if name not in names
        }
        kept = self.drop(others)
        columns = [self.classes.index(name) for name in names]
        relabel = np.full(len(self.classes), -1, dtype=np.int64)
        relabel[columns] = np.arange(len(names))
        votes = None if kept.votes is None else kept.votes[:, columns]
        return replace(kept, labels=relabel[kept.labels], classes=names, votes=votes)

    def class_counts(self) -> dict[str, NDArray[np.int64]]:
        """split -> (C,) rows of each class, for the splits that are there."""
        return {
            split: np.bincount(self.labels[self.splits == split], minlength=len(self.classes))
            for split in SPLITS
            if (self.splits == split).any()
        }

    def dropped_lines(self, shown: int = 5) -> list[str]:
        """``dropped`` for people: one line a reason, its count and the first ``shown`` origins."""
        lines = []
        for reason, origins in self.dropped.items():
            more = f", and {len(origins) - shown} more" if len(origins) > shown else ""
            lines.append(f"left out {len(origins)}: {reason} ({', '.join(origins[:shown])}{more})")
        return lines
