"""The face detector's bundle: ``models/face``, made on the user's machine by ``python -m convert detector``.

The same rules as for the emotion bundle (edge/bundle.py): a card with the size and SHA-256 of every file, verified
before anything is loaded, and golden pictures that tell a working accelerator from one that lies.
"""

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.bundle import BundleFile, files_of, int8_spec, read_verified
from edge.card import Fields, read_object
from edge.detectors.yunet_tflite import to_tensor
from edge.errors import BundleError
from edge.records import TensorSpec
from edge.runtimes.backends import Network
from edge.runtimes.golden import GoldenCase, golden_fields
from edge.runtimes.quantization import grey_table, same_tensor
from edge.runtimes.tflite import TfliteModel
from edge.settings import ClassifierSettings

CARD_SCHEMA = "emotion-edge/face-card/1"
GOLDEN_SCHEMA = "emotion-edge/face-golden/1"
FACE_BUNDLE = Path(__file__).resolve().parent.parent.parent / "models/face"


@dataclass(frozen=True, slots=True)
class FaceBundle:
    """A verified card. ``files`` keys: ``int8`` and ``golden`` (always), ``float``, ``edgetpu``."""

    folder: Path
    name: str
    version: str
    input: TensorSpec
    """(1, H, W, 3), int8: BGR 0..255, quantized with its scale and zero point."""
    outputs: tuple[TensorSpec, ...]
    """Twelve maps, in the order of the int8 file."""
    files: dict[str, BundleFile]
    card: dict[str, Any]

    def read(self, key: str) -> bytes:
        """The bytes of file ``key``, verified as they are read."""
        return read_verified(self.folder / self.files[key].path, self.files[key])


def load_face_bundle(folder: Path) -> FaceBundle:
    """Read and verify a face bundle. Raises BundleError before any model file is opened by an interpreter."""
    card = read_object(
        folder / "card.json",
        "a face detector's bundle with card.json (make one with python -m convert detector, or set detector.kind to "
        "yunet)",
    )
    if card.values.get("schema") != CARD_SCHEMA:
        card.refuse("schema", repr(CARD_SCHEMA))
    inner = card.object("input")
    inner.choice("colour", "bgr")
    if inner.values.get("range") != [0, 255]:
        inner.refuse("range", "[0, 255]")
    outputs = card.items("outputs")
    if not all(isinstance(output, dict) for output in outputs):
        card.refuse("outputs", "a list of tensors")
    files = files_of(card.object("files"))
    if "golden" not in files:
        card.object("files").refuse("golden", "golden pictures beside the model")
    for file in files.values():
        read_verified(folder / file.path, file)
    return FaceBundle(
        folder=folder,
        name=card.text("name"),
        version=card.text("version"),
        input=int8_spec(inner, 4),
        outputs=tuple(
            int8_spec(Fields(output, card.file, f"outputs[{index}]"), 4) for index, output in enumerate(outputs)
        ),
        files=files,
        card=card.values,
    )


def face_network(folder: Path, settings: ClassifierSettings) -> Network:
    """The bundle's int8 network, to be opened beside the emotion network. Raises BundleError."""
    bundle = load_face_bundle(folder)
    cpu = TfliteModel(bundle.read("int8"), settings.threads)
    card, model = (bundle.input, *bundle.outputs), (cpu.input, *cpu.outputs)
    if len(card) != len(model) or not all(map(same_tensor, card, model)):
        raise BundleError(
            f"bundle {folder}: the model's tensors are not those on its card; remake it (python -m convert detector)"
        )
    if settings.backend == "cpu" or "edgetpu" not in bundle.files:
        return Network(f"bundle {folder}", cpu, b"", ())
    return Network(f"bundle {folder}", cpu, bundle.read("edgetpu"), load_face_golden(bundle, "edgetpu"))


def load_face_golden(bundle: FaceBundle, runtime: str) -> tuple[GoldenCase, ...]:
    """The golden cases with the tolerance for ``runtime`` (``edgetpu`` or the name of a CPU runtime).

    Raises BundleError where they do not fit the network.
    """
    file = bundle.folder / bundle.files["golden"].path
    tolerance, cases = golden_fields(bundle.read("golden"), file, GOLDEN_SCHEMA, runtime)
    table = grey_table(bundle.input)
    return tuple(_case(case, bundle, table, tolerance) for case in cases)


def face_golden_json(
    pictures: Sequence[NDArray[np.uint8]],
    outputs: Sequence[Sequence[NDArray[np.generic]]],
    tolerance_steps: Mapping[str, float],
) -> str:
    """The text of golden.json. pictures: each (H, W, 3) BGR uint8; outputs: for each, the int8 maps."""
    cases = []
    for picture, maps in zip(pictures, outputs, strict=True):
        encoded = cv2.imencode(".png", picture)[1].tobytes()
        text = [base64.b64encode(each.tobytes()).decode("ascii") for each in maps]
        cases.append({"png": base64.b64encode(encoded).decode("ascii"), "outputs": text})
    document = {"schema": GOLDEN_SCHEMA, "tolerance_steps": dict(tolerance_steps), "cases": cases}
    return json.dumps(document, indent=1) + "\n"


def _case(fields: Fields, bundle: FaceBundle, table: NDArray[np.generic], tolerance: float) -> GoldenCase:
    _, height, width, _ = bundle.input.shape
    maps = fields.items("outputs")
    try:
        encoded = np.frombuffer(base64.b64decode(fields.text("png"), validate=True), np.uint8)
        picture = cv2.imdecode(encoded, cv2.IMREAD_COLOR)
        outputs = tuple(
            np.frombuffer(base64.b64decode(text, validate=True), np.int8).reshape(spec.shape)
            for text, spec in zip(maps, bundle.outputs, strict=True)
        )
    except (binascii.Error, ValueError, TypeError, cv2.error):
        fields.refuse("outputs", f"a PNG and {len(bundle.outputs)} maps of the network's shapes, in base64")
    if picture is None or picture.shape != (height, width, 3):
        fields.refuse("png", f"a {width} x {height} colour picture")
    return GoldenCase(to_tensor(np.asarray(picture, np.uint8), table), outputs, tolerance)
