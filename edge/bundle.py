"""The model bundle: a folder with model files and ``card.json``, everything the device must know about them.

Training and conversion end in one; the device starts from one. Nothing else passes between the two. A bundle is
verified before any of its files is loaded, because damaged TFLite files crash the process that loads them.
"""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge.calibration import Calibration
from edge.card import Fields, read_object
from edge.errors import BundleError
from edge.records import UNKNOWN, TensorSpec

CARD_SCHEMA = "emotion-edge/card/1"

FILE_KEYS = ("int8", "float", "keras", "edgetpu", "golden")

MAX_FILE_BYTES = 256_000_000


@dataclass(frozen=True, slots=True)
class CropGeometry:
    """How to cut the square the network was trained on out of a detector's box: side = scale * box.<of>."""

    scale: float
    of: str
    """``width`` or ``height``."""


FER_CROPS = {
    # Measured on FER-2013: eyes at y = .38 of the side, eye distance .36 of it, mouth at .75.
    "yunet": CropGeometry(0.98, "height"),
    "yunet-tflite": CropGeometry(0.98, "height"),
    "haar": CropGeometry(1.09, "width"),
}


@dataclass(frozen=True, slots=True)
class BundleFile:
    path: str
    """Relative to the bundle."""
    sha256: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Bundle:
    """A verified card. ``files`` keys: ``int8`` (always), ``edgetpu``, ``float``, ``keras``, ``golden``."""

    folder: Path
    name: str
    version: str
    labels: tuple[str, ...]
    """In the order of the network's output."""
    input: TensorSpec
    """(1, H, W, 1), int8; raw grey 0..255 is quantized with its scale and zero point, nothing else."""
    output: TensorSpec
    """(1, C), int8."""
    output_kind: str
    """``logits`` or ``probabilities``."""
    calibration: Calibration
    """The card's temperature and smoothing, fitted on validation rows of the int8 file."""
    crops: dict[str, CropGeometry]
    """By detector name."""
    files: dict[str, BundleFile]
    card: dict[str, Any]
    """The whole card, with scores, data, licence, calibration and versions."""

    def path(self, key: str) -> Path:
        """The absolute path of file ``key``; BundleError where the bundle has none."""
        if key not in self.files:
            raise BundleError(f"bundle {self.folder} has no {key!r} file; it has {', '.join(sorted(self.files))}")
        return self.folder / self.files[key].path

    def read(self, key: str) -> bytes:
        """The bytes of file ``key``, verified as they are read: what an interpreter is given is what was checked."""
        return read_verified(self.path(key), self.files[key])

    def crop(self, detector: str) -> CropGeometry:
        """The crop geometry for detector ``detector``; BundleError where the card has none."""
        if detector not in self.crops:
            raise BundleError(
                f"bundle {self.folder} has no crop geometry for detector {detector!r}; it has "
                f"{', '.join(sorted(self.crops))}: add one to its card or choose another detector"
            )
        return self.crops[detector]


def file_sha256(path: Path) -> str:
    """Hex SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def load_bundle(folder: Path) -> Bundle:
    """Read and verify a bundle: card complete, sizes and hashes right, class count and shapes consistent.

    Any label set and any square or oblong grey input will do; only the card decides. Raises BundleError before any
    model file is opened by an interpreter.
    """
    card = read_object(
        folder / "card.json", "a model bundle with card.json (name one with --bundle, make one with python -m convert)"
    )
    if card.values.get("schema") != CARD_SCHEMA:
        card.refuse("schema", repr(CARD_SCHEMA))
    labels = _labels(card)
    inner, outer = card.object("input"), card.object("output")
    inner.choice("colour", "grey")
    if inner.values.get("range") != [0, 255]:
        inner.refuse("range", "[0, 255]")
    input_spec, output_spec = int8_spec(inner, 4), int8_spec(outer, 2)
    batch, height, width, channels = input_spec.shape
    if batch != 1 or channels != 1 or min(height, width) < 8:
        inner.refuse("shape", "[1, height, width, 1] of at least 8 by 8 pixels")
    if output_spec.shape != (1, len(labels)):
        outer.refuse("shape", f"[1, {len(labels)}] for the {len(labels)} labels")
    # For people: their presence is all that is checked here, convert checks what they say.
    card.items("scores")
    for key in ("calibration", "data", "versions"):
        card.object(key)
    for key in ("licence", "limits"):
        card.text(key)
    files = files_of(card.object("files"))
    for file in files.values():
        read_verified(folder / file.path, file)
    return Bundle(
        folder=folder,
        name=card.text("name"),
        version=card.text("version"),
        labels=labels,
        input=input_spec,
        output=output_spec,
        output_kind=outer.choice("kind", "logits", "probabilities"),
        calibration=Calibration(card.number("temperature"), card.share("smoothing", 0.0)),
        crops=_crops(card.object("crops")),
        files=files,
        card=card.values,
    )


def _labels(card: Fields) -> tuple[str, ...]:
    labels = card.items("labels")
    plain = all(isinstance(label, str) and label.strip() and label.isprintable() for label in labels)
    if not plain or len(labels) < 2 or len(set(labels)) < len(labels) or {UNKNOWN, "none"} & set(labels):
        card.refuse("labels", f"two or more different names other than {UNKNOWN!r} and 'none'")
    return tuple(labels)


def int8_spec(fields: Fields, dimensions: int) -> TensorSpec:
    """A card's entry of an int8 tensor."""
    return TensorSpec(
        shape=fields.integers("shape", dimensions),
        dtype=fields.choice("dtype", "int8"),
        scale=fields.number("scale"),
        zero_point=fields.integer("zero_point", -128, 127),
    )


def _crops(crops: Fields) -> dict[str, CropGeometry]:
    if not crops.values:
        crops.refuse("", "the crop geometry of one detector or more")
    each = {name: crops.object(name) for name in crops.values}
    return {
        name: CropGeometry(crop.number("scale"), crop.choice("of", "width", "height")) for name, crop in each.items()
    }


def files_of(files: Fields) -> dict[str, BundleFile]:
    """A card's list of files, each a plain name with hash and size."""
    entries = {}
    for key in files.values:
        if key not in FILE_KEYS:
            files.refuse(key, f"no such file; the known ones are {', '.join(FILE_KEYS)}")
        entry = files.object(key)
        # A plain name: a bundle from elsewhere must not reach out of its folder.
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", entry.text("path"), re.ASCII):
            entry.refuse("path", "a plain file name inside the bundle")
        if not re.fullmatch(r"[0-9a-f]{64}", entry.text("sha256")):
            entry.refuse("sha256", "64 hexadecimal digits in lower case")
        size = entry.integer("bytes", 1, MAX_FILE_BYTES)
        entries[key] = BundleFile(entry.text("path"), entry.text("sha256"), size)
    if "int8" not in entries:
        files.refuse("int8", "the int8 model's path, sha256 and bytes")
    if "edgetpu" in entries and "golden" not in entries:
        files.refuse("golden", "golden inputs beside the Edge TPU model, to tell whether the accelerator lies")
    return entries


def read_verified(path: Path, expected: BundleFile) -> bytes:
    """The bytes of ``path``, of exactly the listed size and hash, else BundleError."""
    mend = "restore the file or convert again (python -m convert)"
    try:
        # is_file: a FIFO would block for ever. One byte more than listed shows a file that grew.
        if not path.is_file():
            raise BundleError(f"bundle file {path}: expected {expected.bytes} bytes, found no such file; {mend}")
        with path.open("rb") as file:
            content = file.read(expected.bytes + 1)
            size = len(content) if len(content) <= expected.bytes else path.stat().st_size
    except OSError as error:
        raise BundleError(f"bundle file {path} can't be read ({error.strerror}); {mend}") from error
    if size != expected.bytes:
        raise BundleError(f"bundle file {path}: expected {expected.bytes} bytes, got {size}; {mend}")
    digest = hashlib.sha256(content).hexdigest()
    if digest != expected.sha256:
        raise BundleError(f"bundle file {path}: expected sha256 {expected.sha256}, got {digest}; {mend}")
    return content
