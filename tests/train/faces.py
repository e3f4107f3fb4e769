"""Small made-up data sets in the published formats, for tests without the real rows."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

USAGE = {"train": "Training", "validation": "PublicTest", "test": "PrivateTest"}


def pictures(count: int, side: int = 48, seed: int = 0) -> NDArray[np.uint8]:
    """(count, side, side) uint8 noise, all different."""
    return np.random.default_rng(seed).integers(0, 256, (count, side, side), dtype=np.uint8)


def csv_row(code: object, image: NDArray[np.uint8], usage: str = "Training") -> str:
    return f"{code},{' '.join(map(str, image.ravel()))},{usage}"


def write_rows(path: Path, rows: Sequence[str], header: str = "emotion,pixels,Usage") -> Path:
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def write_fer(
    path: Path, labels: Sequence[int], splits: Sequence[str], images: NDArray[np.uint8] | None = None
) -> Path:
    """A fer2013.csv; the i-th row has label ``labels[i]`` and is in ``splits[i]``."""
    drawn = pictures(len(labels)) if images is None else images
    rows = [csv_row(code, image, USAGE[split]) for code, image, split in zip(labels, drawn, splits, strict=True)]
    return write_rows(path, rows)


FERPLUS_HEADER = "Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF"


def write_ferplus(path: Path, votes: Sequence[Sequence[int]], splits: Sequence[str]) -> Path:
    """A fer2013new.csv; votes in its own column order. Every file name is the same: they are no key."""
    rows = [
        f"{USAGE[split]},fer0000000.png,{','.join(map(str, row))}" for row, split in zip(votes, splits, strict=True)
    ]
    return write_rows(path, rows, FERPLUS_HEADER)


def write_picture(path: Path, image: NDArray[np.uint8] | NDArray[np.uint16]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    encoded, data = cv2.imencode(path.suffix, image)
    assert encoded
    path.write_bytes(data.tobytes())
    return path


def seven_classes(each: int = 3) -> tuple[list[int], list[str]]:
    """Labels and splits with ``each`` rows of every FER-2013 class in training and one in validation."""
    labels = [code for code in range(7) for _ in range(each + 1)]
    splits = [split for _ in range(7) for split in [*["train"] * each, "validation"]]
    return labels, splits
