"""``python -m convert verify BUNDLE``: what the device does at start, and a little more, step by step."""

import argparse
import json
from pathlib import Path
from typing import Any

from convert.detector_verify import is_face_bundle, verify_face_bundle
from convert.flatbuffer import parse_tflite
from edge.bundle import Bundle, load_bundle
from edge.classifiers.emotion import check_tensors
from edge.errors import EXIT_OK, BundleError
from edge.runtimes.golden import check_golden, load_golden
from edge.runtimes.tflite import TfliteModel, runtime_name

SCHEMA = Path(__file__).resolve().parent.parent / "edge" / "schemas" / "card.schema.json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", type=Path, metavar="BUNDLE")


def run(args: argparse.Namespace) -> int:
    """Print one line a step; the first that fails is a BundleError. A face detector's bundle is known by its card."""
    if is_face_bundle(args.bundle):
        verify_face_bundle(args.bundle)
        return EXIT_OK
    bundle = load_bundle(args.bundle)
    print(f"hashes        ok: {', '.join(file.path for file in bundle.files.values())}")
    _require_schema(bundle)
    print(f"card          ok: {SCHEMA.name}, labels {', '.join(bundle.labels)}")
    for key in [key for key in ("int8", "float", "edgetpu") if key in bundle.files]:
        parse_tflite(bundle.read(key), bundle.files[key].path)
    model = TfliteModel(bundle.read("int8"))
    check_tensors(model, bundle)
    print(f"tensors       ok: {list(bundle.input.shape)} to {list(bundle.output.shape)}, quantization as the card says")
    cases = load_golden(bundle, runtime_name().split()[0])
    wrong = check_golden(model, cases)
    if wrong is not None:
        raise BundleError(f"{args.bundle}: the int8 file {wrong} ({runtime_name()}); convert again")
    print(f"golden        ok: {len(cases)} cases within {cases[0].tolerance_steps:g} steps on {runtime_name()}")
    print(f"{bundle.name} {bundle.version}: verified")
    return EXIT_OK


def _require_schema(bundle: Bundle) -> None:
    from jsonschema import Draft202012Validator

    validator = Draft202012Validator(json.loads(SCHEMA.read_text()))
    errors: list[Any] = sorted(validator.iter_errors(bundle.card), key=lambda error: list(map(str, error.path)))
    if errors:
        place = ".".join(map(str, errors[0].path)) or "the card"
        raise BundleError(f"{bundle.folder}/card.json: {place}: {errors[0].message[:200]}; convert again")
