"""``python -m train evaluate``: how good is a network, and can its confidence be believed.

The same command scores a run's Keras network, any ``.keras`` or ``.tflite`` file, and the bundle that ships. The
validation split also fits the calibration; every other split uses the one that is stored.
"""

import argparse
import json
import math
import shlex
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress

from edge.bundle import file_sha256, load_bundle
from edge.calibration import Calibration, calibrated
from edge.errors import DataError, RunError, UsageError
from train.calibration import FITTED_NOTE, described, expected_calibration_error
from train.checkpoint import write_text
from train.classnames import canonical
from train.data import SPLITS, TRAIN, VALIDATION, Dataset, read_dataset
from train.hygiene import clean
from train.predict import Network, logits_of, open_bundle_file, open_network
from train.report import evaluation_parts, page
from train.runs import Run, load_run, log_look, utc_now
from train.scorecard import score

METRICS_SCHEMA = "emotion-edge/metrics/1"
CALIBRATION_SCHEMA = "emotion-edge/calibration/1"


@dataclass(frozen=True)
class Subject:
    """What is evaluated."""

    network: Network
    labels: tuple[str, ...] | None
    """In the order of the output; None where the file came without them: then the data's."""
    run: Run | None
    """The run that the file belongs to."""
    sha256: str

    @property
    def folder(self) -> Path:
        """Where its results go by default: beside the run it belongs to, else a folder of its own under out/."""
        path = self.network.path
        if self.run is None:
            return Path("out") / (f"{path.parent.name}-{path.stem}" if self.network.labels else path.stem)
        return self.run.folder / ("evaluation" if path == self.run.model_path else f"evaluation-{path.stem}")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    subject = parser.add_mutually_exclusive_group(required=True)
    subject.add_argument("--run", type=Path, metavar="DIR", help="a training run: its best.keras")
    subject.add_argument("--model", type=Path, metavar="FILE", help="a .keras or .tflite file")
    subject.add_argument("--bundle", type=Path, metavar="DIR", help="a model bundle, e.g. models/emotion")
    parser.add_argument(
        "--file", default="int8", choices=("int8", "float", "keras"), help="which of the bundle's files"
    )
    parser.add_argument("--data", type=Path, required=True, metavar="PATH", help="a CSV file or a folder of pictures")
    parser.add_argument("--ferplus", type=Path, metavar="FILE", help="fer2013new.csv, for the agreement with its votes")
    parser.add_argument("--split", default=VALIDATION, choices=SPLITS, help="which rows (default: %(default)s)")
    parser.add_argument("--classes", metavar="A,B,...", help="the labels of a lone --model file, in its output's order")
    parser.add_argument("--seed", type=int, default=0, help="of the 80/10/10 split where the data has none")
    parser.add_argument("--no-flip", action="store_true", help="leave out the flip-averaged score: half the time")
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="for metrics.json, report.html (default: the run, or out/)"
    )


def run(args: argparse.Namespace) -> int:
    subject = open_subject(args)
    rows = read_rows(subject, args)
    out: Path = args.out or (subject.folder if args.split == VALIDATION else subject.folder / args.split)

    logits = with_progress("pictures", subject.network, rows.images)
    flipped = None if args.no_flip else with_progress("mirrored", subject.network, rows.images, flip=True)
    stored, note = (None, "") if args.split == VALIDATION else stored_calibration(subject, out)
    card = score(rows.classes, rows.labels, logits, calibration=stored, votes=rows.votes, flipped_logits=flipped)
    if stored is None:
        note = f"{described(card.calibration)}, fitted on these very {len(rows)} rows; {FITTED_NOTE}"
    of_card = subject.network.calibration
    shipped = None if of_card is None else shipped_calibration(of_card, logits, rows)

    path = subject.network.path
    if args.split == VALIDATION and subject.run is not None:
        log_look(subject.run.folder, f"evaluate {path.name} sha256 {subject.sha256[:12]} accuracy {card.accuracy:.4f}")
    origin = {
        "model": {"path": str(path), "sha256": subject.sha256, "bytes": path.stat().st_size},
        "data": {"path": str(args.data), "ferplus": args.ferplus and str(args.ferplus), "split": args.split},
        "command": shlex.join(["python", "-m", "train", *sys.argv[1:]]),
        "time": utc_now(),
    }
    if args.split == VALIDATION:
        fitted = {**card.as_json()["calibration"], "rows": len(rows)}
        write_text(out / "calibration.json", as_json({"schema": CALIBRATION_SCHEMA, **fitted, **origin}))
    scores = card.as_json()
    scores["calibration"] |= {"note": note, "card": shipped}
    write_text(out / "metrics.json", as_json({"schema": METRICS_SCHEMA, **origin, **scores}))

    title = f"{path.name} on {args.data.name}, {args.split} split"
    facts = [("network", f"{path}, {path.stat().st_size:,} bytes"), ("data", f"{args.data}, {args.split} split")]
    write_text(out / "report.html", page(title, evaluation_parts(facts, card, rows.images, rows.origins, note)))
    print(f"{title}\n{card.as_text()}\n{note}")
    if of_card is not None and shipped is not None:
        print(f"with the card's own {described(of_card)}: ECE {shipped['ece']:.4f}")
    print(f"written: {out / 'metrics.json'}, {out / 'report.html'}")
    return 0


def open_subject(args: argparse.Namespace) -> Subject:
    """The network named on the command line, with its labels. Raises RunError, BundleError or UsageError."""
    given = tuple(canonical(name) for name in args.classes.split(",")) if args.classes else None
    run, network = None, None
    if args.run is not None:
        run = load_run(args.run)
        if not run.model_path.is_file():
            raise RunError(f"expected a trained network {run.model_path}, found none; go on with python -m train fit")
        network = open_network(run.model_path)
    elif args.bundle is not None:
        network = open_bundle_file(load_bundle(args.bundle), args.file)
    else:
        network = open_network(args.model)
        if (args.model.parent / "recipe.json").is_file():
            run = load_run(args.model.parent)
    labels = run.classes if run is not None else network.labels
    if given and labels and given != labels:
        raise UsageError(
            f"--classes says {','.join(given)}, {network.path} has {','.join(labels)}; leave --classes out"
        )
    labels = labels or given
    if labels is not None and len(labels) != network.classes:
        raise UsageError(
            f"expected {network.classes} labels for the {network.classes} outputs of {network.path}, got "
            f"{len(labels)} ({','.join(labels)}); name them all, in the output's order"
        )
    if network.height != network.width:
        raise RunError(f"{network.path} takes {network.height}x{network.width} pictures; only square ones can be read")
    return Subject(network, labels, run, file_sha256(network.path))


def read_rows(subject: Subject, args: argparse.Namespace) -> Dataset:
    """The rows of the split, with the network's labels in its order.

    Rows of other classes are left out, and said so. Raises DataError where a label, or the split, has no rows.
    """
    dataset = read_dataset(args.data, ferplus=args.ferplus, size=subject.network.height, seed=args.seed)
    if args.split == TRAIN:
        dataset = clean(dataset)  # as the network was trained
    labels = subject.labels
    if labels is None:
        if len(dataset.classes) != subject.network.classes:
            raise DataError(
                f"{subject.network.path} has {subject.network.classes} outputs, {args.data} {len(dataset.classes)} "
                f"classes ({','.join(dataset.classes)}); name the network's own with --classes"
            )
        return dataset.subset(args.split)
    missing = [name for name in labels if canonical(name) not in dataset.classes]
    if missing:
        raise DataError(
            f"{subject.network.path} knows {','.join(labels)}, but {args.data} has no {' or '.join(missing)} (it has "
            f"{','.join(dataset.classes)}); evaluate on data with the network's classes"
        )
    dataset = dataset.select(labels, str(args.data))
    for line in dataset.dropped_lines():
        print(line, file=sys.stderr)
    return dataset.subset(args.split)


def with_progress(what: str, network: Network, images: NDArray[np.uint8], *, flip: bool = False) -> NDArray[np.float32]:
    """As logits_of, with a bar on standard error that goes away when done."""
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=len(images))
        return logits_of(network, images, flip=flip, progress=lambda done: bar.update(task, completed=done))


def stored_calibration(subject: Subject, out: Path) -> tuple[Calibration, str]:
    """What was fitted earlier for this very file, and where it came from; the one that changes nothing, if none was."""
    if subject.network.calibration is not None:
        return subject.network.calibration, f"{described(subject.network.calibration)}, from the bundle's card"
    for path in (out / "calibration.json", subject.folder / "calibration.json"):
        if not path.is_file():
            continue
        try:
            stored = json.loads(path.read_text())
            # A file of before smoothing was fitted has none.
            found = Calibration(float(stored["temperature"]), float(stored.get("smoothing", 0.0)))
            if not (0 < found.temperature < math.inf and 0 <= found.smoothing < 1):
                raise ValueError(f"{found} is out of range")
            digest = stored["model"]["sha256"]
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise RunError(f"{path} can't be read ({error!r}); evaluate on the validation split again") from error
        if digest == subject.sha256:
            return found, f"{described(found)}, from {path}"
    return Calibration(), "not calibrated: none is stored for this file; evaluate it on the validation split first"


def shipped_calibration(calibration: Calibration, logits: NDArray[np.float32], rows: Dataset) -> dict[str, float]:
    """What the device's confidences are like: the card's calibration and the ECE with it."""
    error = expected_calibration_error(calibrated(logits, calibration), rows.labels)
    return {**asdict(calibration), "ece": error}


def as_json(record: dict[str, Any]) -> str:
    return json.dumps(record, indent=1) + "\n"
