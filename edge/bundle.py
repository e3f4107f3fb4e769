"""The model bundle: a folder with model files and ``card.json``, everything the device must know about them.

Training and conversion end in one; the device starts from one. Nothing else passes between the two. A bundle is
verified before any of its files is loaded, because damaged TFLite files crash the process that loads them.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge.errors import BundleError
from edge.records import TensorSpec

CARD_SCHEMA = "emotion-edge/card/1"


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
    temperature: float
    """Probabilities = softmax(logits / temperature), fitted on validation rows."""
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


def file_sha256(path: Path) -> str:
    """Hex SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def load_bundle(folder: Path) -> Bundle:
    """Read and verify a bundle: card complete, hashes and sizes right, class count and shapes consistent.

    Raises BundleError before any model file is opened by an interpreter.
    """
    path = folder / "card.json"
    try:
        card = json.loads(path.read_text())
    except OSError as error:
        raise BundleError(
            f"expected a model bundle with card.json in {folder}, found none ({error.strerror}); "
            "name one with --bundle or make one with python -m convert"
        ) from error
    except ValueError as error:
        raise BundleError(f"{path} is not JSON ({error}); restore it or convert again") from error
    raise NotImplementedError(card)
