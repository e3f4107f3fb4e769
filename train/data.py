"""Labelled face crops from any of the usual layouts, as one Dataset. See ``load_dataset``."""

import logging
from pathlib import Path

import numpy as np

from edge.errors import DataError
from edge.preprocess import resize_grey
from train.classnames import CK_CLASSES, FER_CLASSES
from train.dataset import SPLITS, TEST, TRAIN, VALIDATION, Dataset
from train.ferplus import join_ferplus
from train.folders import read_folder
from train.hygiene import clean as without_flaws
from train.pixel_csv import read_pixel_csv
from train.splits import stratified_split

__all__ = [
    "CK_CLASSES",
    "FER_CLASSES",
    "SPLITS",
    "TEST",
    "TRAIN",
    "VALIDATION",
    "Dataset",
    "load_dataset",
    "read_dataset",
    "require_classes",
]

log = logging.getLogger(__name__)

MIN_SIZE = 8


def load_dataset(
    path: Path,
    *,
    ferplus: Path | None = None,
    classes: tuple[str, ...] | None = None,
    size: int = 48,
    seed: int = 0,
    clean: bool = True,
    resplit: bool = False,
) -> Dataset:
    """Read a dataset of any supported layout, ready to train on.

    path: ``fer2013.csv`` or ``icml_face_data.csv``, ``ckextended.csv`` (known by its name), a folder with ``train/``
    and ``test/`` (or ``validation/``) of class folders, or a folder of class folders (then split 80/10/10, stratified,
    by ``seed``).
    ferplus: ``fer2013new.csv``, joined by row. classes: a subset by name, in the order wanted; synonyms such as
    ``anger`` are understood. size: side in pixels. clean: drop duplicate, leaked, constant and no-face rows from
    training; every dropped row is listed in ``dropped``. resplit: split 80/10/10 whatever the data says.

    Raises DataError that names file, row and mend; also where a class has no row in train or validation.
    """
    dataset = read_dataset(path, ferplus=ferplus, size=size, seed=seed, resplit=resplit)
    if classes is not None:
        # Hygiene comes first all the same: a label's conflict with a class that is not wanted is a conflict.
        dataset.select(classes, path.name)
    if clean:
        dataset = without_flaws(dataset)
    if classes is not None:
        dataset = dataset.select(classes, path.name)
    require_classes(dataset, path)
    return dataset


def read_dataset(
    path: Path, *, ferplus: Path | None = None, size: int = 48, seed: int = 0, resplit: bool = False
) -> Dataset:
    """As load_dataset, but everything readable that is there: nothing cleaned, no class required."""
    if size < MIN_SIZE:
        raise DataError(f"expected a picture size of {MIN_SIZE} pixels or more, got {size}")
    if path.is_dir():
        if ferplus is not None:
            raise DataError(
                f"expected fer2013.csv together with {ferplus.name}, got the folder {path}: "
                "FER+ is joined by row, which folders have lost; give the CSV file"
            )
        rows = read_folder(path, size, seed, resplit=resplit)
        return Dataset(rows.images, rows.labels, rows.splits, rows.classes, origins=rows.origins, dropped=rows.dropped)
    if not path.exists():
        raise DataError(f"expected a CSV file or a folder of pictures, {path} does not exist; check the path")
    return _read_csv(path, ferplus, size, seed, resplit=resplit)


def _read_csv(path: Path, ferplus: Path | None, size: int, seed: int, *, resplit: bool) -> Dataset:
    # CK+'s codes are FER-2013's and one more; the columns are the same, so only the name tells the two apart.
    classes = CK_CLASSES if path.name.lower().startswith("ck") else FER_CLASSES
    rows = read_pixel_csv(path, len(classes), with_usage=not resplit)
    votes, no_face = join_ferplus(ferplus, rows, path, classes) if ferplus is not None else (None, None)
    if rows.splits is None and not resplit:
        log.warning("%s has no Usage column: its rows are dealt out 80/10/10 at random by seed %d", path.name, seed)
    images = rows.images
    if images.shape[1] != size:
        images = np.empty((len(rows.images), size, size), dtype=np.uint8)
        for row, image in enumerate(rows.images):
            images[row] = resize_grey(image, size, size)
    return Dataset(
        images=images,
        labels=rows.codes,
        splits=stratified_split(rows.codes, seed) if rows.splits is None else rows.splits,
        classes=classes,
        votes=votes,
        origins=tuple(f"{path.name}:{line}" for line in rows.lines),
        dropped=rows.dropped,
        no_face=no_face,
    )


def require_classes(dataset: Dataset, path: Path, splits: tuple[str, ...] = (TRAIN, VALIDATION)) -> None:
    """Raises DataError where a class has no row in one of ``splits``; a split that is not there at all is passed."""
    present = np.unique(dataset.labels)
    if len(present) < 2:
        only = dataset.classes[present[0]] if len(present) else "none"
        raise DataError(f"expected two classes or more in {path}, every row is of one: {only}; add rows of another")
    for split, counts in dataset.class_counts().items():
        missing = [name for name, count in zip(dataset.classes, counts, strict=True) if count == 0]
        if split in splits and missing:
            others = ",".join(name for name in dataset.classes if name not in missing)
            raise DataError(
                f"expected rows of every class in the {split} split of {path}, there are none of {', '.join(missing)}; "
                f"add some, or leave the class out with --classes {others}"
            )
