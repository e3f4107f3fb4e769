"""``python -m train crossvalidate``: train k times, each time validating on another part of the data.

Every row is predicted once, by a network that did not learn from it; the spread over the folds says how much of a
difference between two recipes is luck. Test rows, where the data has them, are left alone. An interrupted command
goes on where it was.
"""

import argparse
import hashlib
import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

from edge.errors import RunError, UsageError
from train import pictures
from train.calibration import FITTED_NOTE, described
from train.checkpoint import write_text
from train.data import TEST, TRAIN, VALIDATION, Dataset
from train.evaluate import as_json
from train.fit import fit
from train.hygiene import picture_groups
from train.options import add_data_arguments, add_recipe_arguments, dataset_from, recipe_from
from train.predict import predict_logits
from train.recipe import Recipe
from train.report import evaluation_parts, heading, page, paragraph, picture
from train.runs import log_look
from train.scorecard import Scorecard, score
from train.splits import kfold

PLAN_SCHEMA = "emotion-edge/crossvalidation/1"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_data_arguments(parser)
    add_recipe_arguments(parser)
    parser.add_argument("--folds", type=int, default=5, metavar="K", help="parts (default: %(default)s)")
    parser.add_argument("--run", type=Path, required=True, metavar="DIR", help="its folder; an unfinished one goes on")


def run(args: argparse.Namespace) -> int:
    if args.folds < 2:
        raise UsageError(f"expected --folds of 2 or more, got {args.folds}")
    recipe = recipe_from(args)
    pool = pooled(dataset_from(args, recipe.size))
    try:
        results, card = crossvalidate(recipe, pool, args.folds, args.run)
    except KeyboardInterrupt:
        print(f"stopped; finished folds are kept in {args.run}: the same command goes on", file=sys.stderr, flush=True)
        os._exit(130)  # Keras' data threads would keep the interpreter waiting
    summary = summarize(results)
    write_text(args.run / "crossvalidation.json", as_json({**summary, "folds": results, "out_of_fold": card.as_json()}))
    write_text(args.run / "report.html", report(args, results, card, pool))
    print(f"{'fold':>4} {'accuracy':>9} {'macro-F1':>9} {'epoch':>6}")
    for number, each in enumerate(results, start=1):
        print(f"{number:>4} {each['val_accuracy']:>9.2%} {each['val_macro_f1']:>9.2%} {each['epoch']:>6.0f}")
    print(f"accuracy {in_words(summary['accuracy'])}, macro-F1 {in_words(summary['macro_f1'])} over {args.folds} folds")
    print(f"\nevery row predicted by the fold that did not learn it:\n{card.as_text()}")
    print(f"written: {args.run / 'crossvalidation.json'}, {args.run / 'report.html'}")
    return 0


def pooled(dataset: Dataset) -> Dataset:
    """The training and validation rows together, identical pictures once, or folds would share answers."""
    pool = dataset.rows(dataset.splits != TEST)
    _, first = np.unique(picture_groups(pool.images), return_index=True)
    if len(first) < len(pool):
        print(f"left out {len(pool) - len(first)} validation rows: the same picture came before", file=sys.stderr)
    return pool.rows(np.sort(first))


def crossvalidate(recipe: Recipe, pool: Dataset, folds: int, folder: Path) -> tuple[list[dict[str, float]], Scorecard]:
    """Fit ``folds`` networks into folder/fold-1 ... and score every row by the one that did not learn it.

    Returns fit's figures of each fold, and the scores of the out-of-fold predictions. Raises RunError where the folder
    was begun with something else, DataError where a class has fewer rows than folds.
    """
    parts = list(kfold(pool.labels, folds, recipe.seed))
    _begin(folder, recipe, pool, folds)
    logits = np.zeros((len(pool), len(pool.classes)), dtype=np.float32)
    results = []
    for number, (_, held_out) in enumerate(parts, start=1):
        splits = np.full(len(pool), TRAIN, dtype="<U16")
        splits[held_out] = VALIDATION
        fold = folder / f"fold-{number}"
        if not (fold / "metrics.json").is_file():  # fit writes it last
            fit(recipe, replace(pool, splits=splits), fold, on_epoch=_announcer(number, folds, recipe))
            keras.utils.clear_session()
        results.append(json.loads((fold / "metrics.json").read_text()))
        logits[held_out] = predict_logits(fold / "best.keras", pool.images[held_out])
    card = score(pool.classes, pool.labels, logits, votes=pool.votes)
    log_look(folder, f"crossvalidate {folds} folds, out-of-fold accuracy {card.accuracy:.4f}")
    return results, card


def summarize(results: list[dict[str, float]]) -> dict[str, Any]:
    """Mean and sample standard deviation (n - 1) over the folds."""
    return {
        name: {"mean": float(np.mean(values)), "standard_deviation": float(np.std(values, ddof=1))}
        for name, values in (
            ("accuracy", [each["val_accuracy"] for each in results]),
            ("macro_f1", [each["val_macro_f1"] for each in results]),
        )
    }


def in_words(spread: dict[str, float]) -> str:
    return f"{spread['mean']:.2%} ± {spread['standard_deviation']:.2%}"


def report(args: argparse.Namespace, results: list[dict[str, float]], card: Scorecard, pool: Dataset) -> str:
    names = [f"fold {number}" for number in range(1, len(results) + 1)]
    accuracies = [each["val_accuracy"] for each in results]
    note = (
        f"{described(card.calibration)}, fitted on these very out-of-fold predictions of {len(results)} networks; "
        f"{FITTED_NOTE}"
    )
    return page(
        f"{args.folds}-fold cross-validation on {args.data.name}",
        [
            paragraph(
                "Each fold's network is the one of its best epoch on that very fold, so these figures flatter a "
                "little; differences between recipes are what they are for."
            ),
            heading("Folds"),
            picture(
                pictures.points_of_runs(names, accuracies, "Accuracy of each fold", "accuracy"), "accuracy of folds"
            ),
            heading("Every row, predicted by the fold that did not learn it"),
            *evaluation_parts([("data", str(args.data))], card, pool.images, pool.origins, note),
        ],
    )


def _begin(folder: Path, recipe: Recipe, pool: Dataset, folds: int) -> None:
    """Write what this is about, or check that the folder's own is the same: folds of two kinds must never mix."""
    plan = {
        "schema": PLAN_SCHEMA,
        "folds": folds,
        "classes": list(pool.classes),
        "rows": len(pool),
        "rows_sha256": hashlib.sha256(pool.images.tobytes() + pool.labels.tobytes()).hexdigest(),
        "recipe": json.loads(json.dumps(recipe.as_dict())),
    }
    path = folder / "plan.json"
    if not path.is_file():
        write_text(path, as_json(plan))
        return
    try:
        found = json.loads(path.read_text())
        other = [key for key in plan if found.get(key) != plan[key]]
    except (OSError, ValueError, AttributeError) as error:
        raise RunError(f"{path} can't be read ({error}); use another --run folder") from error
    if other:
        raise RunError(
            f"{folder} was begun with another {', '.join(other)}; use the same ones, or another --run folder"
        )


def _announcer(number: int, folds: int, recipe: Recipe) -> Any:
    def announce(epoch: int, row: dict[str, float]) -> None:
        print(
            f"fold {number}/{folds}  epoch {epoch + 1:3d}/{recipe.epochs}  loss {row['loss']:.4f}  "
            f"validation {row['val_accuracy']:.4f}  {row['seconds']:.1f} s",
            file=sys.stderr,
            flush=True,
        )

    return announce
