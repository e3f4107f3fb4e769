"""``python -m convert verify models/face``: what the device checks of the face detector, step by step."""

import json
from pathlib import Path

from convert.flatbuffer import parse_tflite
from edge.detectors.face_bundle import CARD_SCHEMA, face_network, load_face_bundle, load_face_golden
from edge.detectors.yunet_tflite import YunetTfliteDetector
from edge.errors import BundleError
from edge.runtimes.golden import check_golden
from edge.runtimes.tflite import runtime_name
from edge.settings import ClassifierSettings


def is_face_bundle(folder: Path) -> bool:
    """Whether ``folder`` has a face detector's card; what is wrong with a card is said by those who load it."""
    try:
        card = json.loads((folder / "card.json").read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(card, dict) and card.get("schema") == CARD_SCHEMA


def verify_face_bundle(folder: Path) -> None:
    """Print one line a step; the first that fails is a BundleError."""
    bundle = load_face_bundle(folder)
    print(f"hashes        ok: {', '.join(file.path for file in bundle.files.values())}")
    for key in [key for key in ("int8", "float", "edgetpu") if key in bundle.files]:
        parse_tflite(bundle.read(key), bundle.files[key].path)
    model = face_network(folder, ClassifierSettings(backend="cpu")).cpu
    YunetTfliteDetector(model)
    print(f"tensors       ok: {list(bundle.input.shape)} to twelve maps, quantization as the card says")
    cases = load_face_golden(bundle, runtime_name().split()[0])
    wrong = check_golden(model, cases)
    if wrong is not None:
        raise BundleError(f"{folder}: the int8 file {wrong} ({runtime_name()}); python -m convert detector remakes it")
    print(f"golden        ok: {len(cases)} cases within {cases[0].tolerance_steps:g} steps on {runtime_name()}")
    print(f"{bundle.name} {bundle.version}: verified")
