"""Folders of pictures: ``class/*.jpg``, or ``train/class/*.jpg`` with ``test/`` and ``validation/`` beside it."""

import contextlib
import logging
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.errors import DataError
from edge.preprocess import resize_grey, to_grey
from train.classnames import canonical, in_usual_order
from train.dataset import SPLITS, TEST, TRAIN, VALIDATION
from train.pixel_csv import MAX_BAD_SHARE
from train.progress import watched
from train.splits import SHARES, stratified_split

log = logging.getLogger(__name__)

SPLIT_NAMES = {
    "train": TRAIN,
    "training": TRAIN,
    "validation": VALIDATION,
    "valid": VALIDATION,
    "val": VALIDATION,
    "test": TEST,
    "testing": TEST,
}
PICTURES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".pgm", ".ppm"}
USAGE_PREFIXES = {"publictest_": VALIDATION, "privatetest_": TEST}
"""FER-2013 as folders keeps the Usage in its file names; its test folder is PublicTest and PrivateTest together."""


@dataclass(frozen=True)
class FolderRows:
    images: NDArray[np.uint8]
    """(N, size, size)."""
    labels: NDArray[np.int64]
    """(N,) indices into ``classes``."""
    splits: NDArray[np.str_]
    classes: tuple[str, ...]
    origins: tuple[str, ...]
    dropped: dict[str, list[str]] = field(default_factory=dict)


def read_picture(path: Path, size: int) -> NDArray[np.uint8]:
    """Any 8 or 16 bit, grey or colour picture to (size, size) uint8 grey: its middle square, upright by its EXIF tag.

    Raises DataError where it can't be read, or is cut short.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"can't open {path} ({error.strerror}); check its permissions") from error
    image = None
    if data:
        with contextlib.suppress(cv2.error):
            image = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise DataError(f"{path} is no readable picture ({len(data)} bytes); remove it or copy it again")
    grey = to_grey(np.asarray(image, dtype=np.uint8))
    height, width = grey.shape
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return resize_grey(np.ascontiguousarray(grey[top : top + side, left : left + side]), size, size)


def read_folder(root: Path, size: int, seed: int, *, resplit: bool = False) -> FolderRows:
    """Read every picture below ``root`` and grey, crop (middle square) and scale it.

    With split folders their splits are kept; a missing validation split is dealt out from train, one tenth of it, at
    random by ``seed`` and evenly over the classes. Else, or with ``resplit``, all is dealt out 80/10/10.
    Classes are the class folders' names: FER-2013's first and in its order, then others alphabetically.

    Raises DataError where there are no class folders with pictures, or more than MAX_BAD_SHARE can't be read.
    """
    try:
        files, dropped = _find_pictures(root)
    except OSError as error:
        raise DataError(f"can't look into {error.filename} ({error.strerror}); check its permissions") from error
    classes = in_usual_order(name for _, _, name in files)
    images = np.empty((len(files), size, size), dtype=np.uint8)
    labels: list[int] = []
    splits: list[str] = []
    origins: list[str] = []
    failures: list[tuple[str, str]] = []  # origin, the whole message
    level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # it says less than our own message
    try:
        for path, split, name in watched(files, f"reading {root.name}"):
            origin = path.relative_to(root).as_posix()
            try:
                images[len(labels)] = read_picture(path, size)
            except DataError as error:
                failures.append((origin, str(error)))
                continue
            labels.append(classes.index(canonical(name)))
            splits.append(split)
            origins.append(origin)
    finally:
        cv2.utils.logging.setLogLevel(level)
    if len(failures) > MAX_BAD_SHARE * len(files):
        raise DataError(f"{failures[0][1]}; it is the first of {len(failures)} such files of {len(files)}")
    if failures:
        dropped["no readable picture"] = [origin for origin, _ in failures]
    label_array = np.array(labels, dtype=np.int64)
    return FolderRows(
        images=images[: len(labels)],
        labels=label_array,
        splits=_deal_out(np.array(splits, dtype="<U16"), label_array, seed, resplit=resplit),
        classes=classes,
        origins=tuple(origins),
        dropped=dropped,
    )


def _find_pictures(root: Path) -> tuple[list[tuple[Path, str, str]], dict[str, list[str]]]:
    """(path, split or "", class folder) of every picture, sorted by path; and what is there beside them, by reason."""
    dropped: dict[str, list[str]] = {}

    def leave_out(reason: str, path: Path) -> None:
        dropped.setdefault(reason, []).append(path.relative_to(root).as_posix())

    children = sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    split_folders = {path: SPLIT_NAMES[path.name.lower()] for path in children if path.name.lower() in SPLIT_NAMES}
    for path in children:
        if split_folders and path not in split_folders:
            leave_out("folder that is neither train, validation nor test", path)
    class_folders = [
        (path, split)
        for parent, split in (split_folders or {root: ""}).items()
        for path in sorted(parent.iterdir())
        if path.is_dir() and not path.name.startswith(".")
    ]
    files = []
    for folder, split in class_folders:
        for path in sorted(folder.rglob("*")):
            if path.is_dir():
                continue
            if path.suffix.lower() not in PICTURES:
                leave_out("not a picture file", path)
                continue
            prefix = path.name.lower().split("_")[0] + "_"
            files.append((path, USAGE_PREFIXES.get(prefix, split) if split == TEST else split, folder.name))
    if not files:
        there = ", ".join(path.name for path in sorted(root.iterdir())[:6]) or "nothing"
        tables = [path.name for path in sorted(root.glob("*.csv"))]
        mend = f"give the file, {root / tables[0]}" if tables else "name the folder that holds them"
        raise DataError(
            f"expected class folders with pictures in {root} (such as {root.name}/happy/1.jpg or "
            f"{root.name}/train/happy/1.jpg), found {there}; {mend}"
        )
    return files, dropped


def _deal_out(splits: NDArray[np.str_], labels: NDArray[np.int64], seed: int, *, resplit: bool) -> NDArray[np.str_]:
    if resplit or not np.isin(splits, SPLITS).any():
        return stratified_split(labels, seed)
    train = splits == TRAIN
    if train.any() and not (splits == VALIDATION).any():
        shares = {TRAIN: 0.9, VALIDATION: 0.1} if (splits == TEST).any() else SHARES
        splits = splits.copy()
        splits[train] = stratified_split(labels[train], seed, shares)
        dealt = ", ".join(f"{share:.0%} {name}" for name, share in shares.items())
        log.warning(
            "no validation folder: the train folder's pictures are dealt out, %s, at random by seed %d", dealt, seed
        )
    return splits
