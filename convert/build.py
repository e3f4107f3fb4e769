"""A training run to a bundle: quantize, measure, describe, write.

``python -m convert RUN_DIR --out models/emotion --data fer2013.csv``.
"""

import argparse
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convert import agreement, card, edgetpu_check, edgetpu_compile, layers, quantize
from convert.folder import replaced_folder
from convert.golden import make_golden
from convert.runner import require_interpreter, run_model
from edge.bundle import load_bundle
from edge.errors import ConversionError, DataError, RunError
from edge.records import TensorSpec
from edge.runtimes.tflite import TfliteModel
from train.calibration import Reliability, described, fitted_stages, stored_stages
from train.data import TRAIN, VALIDATION, Dataset, load_dataset
from train.metrics import class_scores, confusion_matrix
from train.runs import Run, load_run

FLOAT_TOLERANCE = 1e-2
"""Largest difference of a logit between Keras and float TFLite: the same arithmetic in another order."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run_dir", type=Path, metavar="RUN_DIR", help="a training run (python -m train fit)")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="the bundle to write, e.g. models/emotion"
    )
    parser.add_argument("--data", type=Path, required=True, metavar="PATH", help="the data the run was trained on")
    parser.add_argument("--name", help="the bundle's name; without it, --out's last part")
    parser.add_argument("--version", help="the bundle's version; without it, the date and the int8 file's hash")
    parser.add_argument("--calibration-rows", type=int, default=quantize.CALIBRATION_ROWS, metavar="N")
    parser.add_argument("--seed", type=int, default=0, help="which training crops calibrate")
    parser.add_argument(
        "--also-python", type=Path, action="append", default=[], metavar="PYTHON",
        help="measure the int8 file on this interpreter's runtime too, e.g. .venv-edge/bin/python",
    )  # fmt: skip
    parser.add_argument(
        "--accept-drop", action="store_true", help=f"ship although int8 loses over {agreement.MAX_DROP_POINTS} point"
    )
    parser.add_argument("--licence", help="licence text for the card, where the data is your own")
    edgetpu_compile.add_compiler_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Make the bundle; the tables go to standard output, progress to standard error."""
    trained = load_run(args.run_dir)
    if not args.data.exists():
        raise DataError(f"expected the training data at {args.data}, found nothing; name it with --data")
    edgetpu_compile.find_compiler(args.compiler)
    for python in args.also_python:
        require_interpreter(python)
    # The folder first: an unwritable one must not be found out after minutes of work.
    with replaced_folder(args.out) as staging:
        _build(args, trained, staging)
    print(f"\nwrote {args.out}: " + ", ".join(sorted(path.name for path in args.out.iterdir())))
    return 0


def _build(args: argparse.Namespace, trained: Run, staging: Path) -> None:
    name = args.name or args.out.resolve().name
    network = _load_network(trained)
    dataset = _load_data(args.data, trained)
    train, validation = dataset.subset(TRAIN), dataset.subset(VALIDATION)
    rows = quantize.calibration_rows(train.labels, args.calibration_rows, args.seed)
    crops = quantize.with_full_range(train.images[rows])

    fixed = quantize.fixed_batch(network, trained.size)
    _say("converting to float32")
    floating = quantize.to_float(fixed)
    _say(f"converting to int8, calibrated on {len(rows)} training crops")
    int8 = quantize.to_int8(fixed, crops)
    _check_float(network, floating, crops[:32])

    spec_in, spec_out = _specs(int8)
    _say(f"float32 over {len(validation):,} validation crops")
    reference = run_model(floating, validation.images)[0].astype(np.float32)
    measured = agreement.int8_outputs(int8, spec_out, validation.images, args.also_python, _say)
    agreements = agreement.compare(reference, measured, validation.labels, trained.classes, VALIDATION, spec_out.scale)
    print(agreement.table(agreements))
    if max(each.drop_points for each in agreements) > agreement.EXPLAIN_DROP_POINTS:
        _say("int8 loses more than it should; looking at each layer")
        print("\n" + layers.report(layers.layer_errors(fixed, crops)))
    agreement.require_agreement(agreements, args.accept_drop)

    mapping = edgetpu_check.check_bytes(int8, f"{name}.int8.tflite")
    print("\n" + edgetpu_check.summary(mapping))
    calibration, stages = fitted_stages(measured[0].logits, validation.labels)
    others = [stored_stages(calibration, each.logits, validation.labels) for each in measured[1:]]
    files = {
        "int8": f"{name}.int8.tflite",
        "float": f"{name}.float.tflite",
        "keras": f"{name}.keras",
        "golden": "golden.json",
    }
    (staging / files["int8"]).write_bytes(int8)
    (staging / files["float"]).write_bytes(floating)
    network.save(staging / files["keras"])
    (staging / files["golden"]).write_text(make_golden(int8, trained.size, trained.size, args.also_python))
    compiled = edgetpu_compile.compile_beside(staging / files["int8"], args)
    if compiled is not None:
        files["edgetpu"] = compiled["file"]

    entries = card.file_entries(staging, files)
    contents: dict[str, Any] = {
        "name": name,
        "version": args.version or f"{datetime.now(UTC):%Y.%m.%d}+{entries['int8']['sha256'][:8]}",
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "labels": list(trained.classes),
        "input": card.tensor_entry(spec_in) | {"colour": "grey", "range": [0, 255]},
        "output": card.tensor_entry(spec_out) | {"kind": "logits"},
        "temperature": round(calibration.temperature, 6),
        "smoothing": round(calibration.smoothing, 6),
        "crops": card.crop_entries(),
        "files": entries,
        "scores": _scores(args, files, reference, measured, validation, [stages, *others]),
        "agreement": [each.as_dict() for each in agreements],
        "calibration": {
            "rows": len(rows),
            "added": "one crop with a black and a white corner pixel, so that the input's scale is 1",
            "split": TRAIN,
            "seed": args.seed,
            "stratified": True,
            "rows_per_class": dict(
                zip(
                    trained.classes,
                    np.bincount(train.labels[rows], minlength=len(trained.classes)).tolist(),
                    strict=True,
                )
            ),
        },
        "network": {
            "parameters": int(network.count_params()),
            "macs": mapping.macs,
            "run": card.without_paths(trained.recipe),
        },
        "edgetpu": {"compiled": compiled, "check": mapping.facts()},
        "data": _data_entry(args.data, dataset, trained),
        "licence": args.licence or card.licence_of(args.data),
        "limits": card.LIMITS,
        "versions": card.versions(each.runtime for each in agreements),
    }
    (staging / "card.json").write_text(card.card_text(contents))
    # What the device would refuse is not written.
    load_bundle(staging)
    print(f"\ncalibration: {described(calibration)}")
    for stage in stages.values():
        print(f"  {stage.what}: expected calibration error {stage.ece:.4f}")


def _load_network(trained: Run) -> Any:
    _, keras = quantize.import_frameworks()
    if not trained.model_path.is_file():
        raise RunError(
            f"expected a trained network at {trained.model_path}, found none; finish the run with python -m train fit"
        )
    try:
        network = keras.saving.load_model(trained.model_path, compile=False)
    except (OSError, ValueError, TypeError, KeyError) as error:
        reason = " ".join(str(error).split())[:200]
        raise RunError(f"{trained.model_path} can't be loaded ({reason}); train again into a new folder") from error
    expected_in, expected_out = (None, trained.size, trained.size, 1), (None, len(trained.classes))
    if (network.input_shape, network.output_shape) != (expected_in, expected_out):
        raise RunError(
            f"expected a network from {expected_in} to {expected_out} as {trained.folder}/recipe.json says, "
            f"{trained.model_path.name} goes from {network.input_shape} to {network.output_shape}; train again"
        )
    if not all(np.isfinite(weight).all() for weight in network.get_weights()):
        raise RunError(f"{trained.model_path} holds weights that are NaN or infinite; convert an earlier run")
    return network


def _load_data(path: Path, trained: Run) -> Dataset:
    # As train fit loads it, so that data without splits of its own is split the same.
    dataset = load_dataset(path, classes=trained.classes, size=trained.size)
    for split in (TRAIN, VALIDATION):
        if not len(dataset.subset(split)):
            raise DataError(f"expected {split} rows in {path}, found none; name data with a {split} split")
    return dataset


def _check_float(network: Any, floating: bytes, crops: NDArray[np.uint8]) -> None:
    keras_logits = np.asarray(network.predict(crops[..., None].astype(np.float32), verbose=0))
    worst = float(np.abs(run_model(floating, crops)[0] - keras_logits).max())
    if not worst <= FLOAT_TOLERANCE * max(1.0, float(np.abs(keras_logits).max())):
        raise ConversionError(
            f"float TFLite and Keras differ by {worst:.4f} in a logit, at most {FLOAT_TOLERANCE} is rounding; "
            "the converter changed the network: report it with the run"
        )


def _specs(int8: bytes) -> tuple[TensorSpec, TensorSpec]:
    model = TfliteModel(int8)
    return model.input, model.outputs[0]


def _scores(
    args: argparse.Namespace,
    files: dict[str, str],
    reference: NDArray[np.float32],
    measured: list[agreement.Outputs],
    validation: Dataset,
    stages: list[dict[str, Reliability]],
) -> list[dict[str, Any]]:
    out = args.out.name if args.out.is_absolute() else args.out
    command = f"python -m convert agree {out} --data {args.data.name}"
    result = []
    for key, runtime, logits, calibration in [
        ("float", measured[0].runtime, reference, {}),
        *(("int8", each.runtime, each.logits, stage) for each, stage in zip(measured, stages, strict=True)),
    ]:
        confusion = confusion_matrix(validation.labels, logits.argmax(axis=1), len(validation.classes))
        scores = class_scores(confusion)
        entry = {
            "file": files[key],
            "runtime": runtime,
            "split": VALIDATION,
            "rows": len(validation),
            "accuracy": round(float(np.trace(confusion) / confusion.sum()), 6),
            "macro_f1": round(float(scores.f1.mean()), 6),
            "recall": dict(zip(validation.classes, np.round(scores.recall, 4).tolist(), strict=True)),
            "precision": dict(zip(validation.classes, np.round(scores.precision, 4).tolist(), strict=True)),
            "command": command,
        }
        for name, stage in calibration.items():
            suffix = "" if name == "after" else f"_{name}"
            entry[f"expected_calibration_error{suffix}"] = round(stage.ece, 6)
        result.append(entry)
    return result


def _data_entry(path: Path, dataset: Dataset, trained: Run) -> dict[str, Any]:
    splits, counts = np.unique(dataset.splits, return_counts=True)
    note = trained.recipe.get("data")
    return {
        "file": path.name,
        "ferplus": note.get("ferplus") if isinstance(note, dict) else None,
        # What the run learned from, where it says so: FER+ takes rows without a face out as well.
        "rows": trained.recipe.get("rows", dict(zip(splits.tolist(), counts.tolist(), strict=True))),
        "dropped": trained.recipe.get("dropped", {key: len(origins) for key, origins in dataset.dropped.items()}),
        "note": "The validation split chose the checkpoint and the calibration; it is not an independent test.",
    }


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
