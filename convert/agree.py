"""``python -m convert agree BUNDLE --data PATH``: measure a bundle's int8 file again, on any split and runtime."""

import argparse
import json
import sys
from pathlib import Path

import numpy as np

from convert import agreement
from convert.runner import require_interpreter, run_model
from edge.bundle import load_bundle
from edge.errors import EXIT_OK, DataError
from train.data import SPLITS, VALIDATION, load_dataset


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", type=Path, metavar="BUNDLE")
    parser.add_argument("--data", type=Path, required=True, metavar="PATH")
    parser.add_argument("--split", choices=SPLITS, default=VALIDATION)
    parser.add_argument("--also-python", type=Path, action="append", default=[], metavar="PYTHON")
    parser.add_argument("--accept-drop", action="store_true", help="exit 0 however much int8 loses")
    parser.add_argument("--json", action="store_true", help="the same as JSON")


def run(args: argparse.Namespace) -> int:
    """Print the table; ConversionError (exit 1) where int8 loses more than is shipped."""
    bundle = load_bundle(args.bundle)
    for python in args.also_python:
        require_interpreter(python)
    dataset = load_dataset(args.data, classes=bundle.labels, size=bundle.input.shape[1])
    rows = dataset.subset(args.split)
    if not len(rows):
        raise DataError(f"expected {args.split} rows in {args.data}, found none; name another --split")
    _say(f"float32 over {len(rows):,} pictures")
    reference = run_model(bundle.read("float"), rows.images)[0].astype(np.float32)
    measured = agreement.int8_outputs(bundle.read("int8"), bundle.output, rows.images, args.also_python, _say)
    compared = agreement.compare(reference, measured, rows.labels, bundle.labels, args.split, bundle.output.scale)
    print(json.dumps([each.as_dict() for each in compared], indent=2) if args.json else agreement.table(compared))
    agreement.require_agreement(compared, args.accept_drop)
    return EXIT_OK


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
