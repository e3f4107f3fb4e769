"""Labelled face crops from any of the usual layouts, as one Dataset. See ``load_dataset``."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

FER_CLASSES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
"""FER-2013's label order, 0..6."""

TRAIN, VALIDATION, TEST = "train", "validation", "test"
"""FER-2013's Usage: Training, PublicTest, PrivateTest."""


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

    def subset(self, split: str) -> "Dataset":
        """The rows of one split, in order."""
        raise NotImplementedError

    def __len__(self) -> int:
        return len(self.labels)


def load_dataset(
    path: Path,
    *,
    ferplus: Path | None = None,
    classes: tuple[str, ...] | None = None,
    size: int = 48,
    seed: int = 0,
    clean: bool = True,
) -> Dataset:
    """Read a dataset of any supported layout.

    path: ``fer2013.csv`` or ``icml_face_data.csv``, ``ckextended.csv``, a folder with ``train/`` and ``test/`` (or
    ``validation/``) of class folders, or a folder of class folders (then split 80/10/10, stratified, by ``seed``).
    ferplus: ``fer2013new.csv``, joined by row. classes: a subset by name, in the order wanted. clean: drop duplicate,
    leaked, constant and no-face rows from training; every dropped row is listed in ``dropped``.

    Raises DataError that names file, row and mend.
    """
    raise NotImplementedError
