"""``python -m train fit``: from labelled pictures to a network, resumable at any moment."""

import argparse
import json
import platform
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from edge.errors import EXIT_INTERRUPTED, DataError, RunError, UsageError
from train.augment import Augment
from train.batch_norm import sharp_and_soft
from train.batches import ShuffledBatches
from train.bookkeeping import Bookkeeping, EpochCallback
from train.checkpoint import write_text
from train.curves import draw_curves
from train.dataset import TRAIN, VALIDATION, Dataset
from train.epoch_bar import EpochBar
from train.learner import Learner
from train.networks import build_network
from train.networks.cost import count_macs, count_parameters
from train.optimizer import make_optimizer
from train.options import add_data_arguments, add_recipe_arguments, dataset_from, recipe_from
from train.recipe import Recipe
from train.runs import RUN_SCHEMA, load_run, log_look
from train.targets import row_weights, soft_targets
from train.unfreezing import stages, unfreeze


def fit(
    recipe: Recipe,
    dataset: Dataset,
    folder: Path,
    *,
    teachers: Sequence[keras.Model] = (),
    on_epoch: EpochCallback | None = None,
    quiet: bool = True,
    note: dict[str, Any] | None = None,
) -> dict[str, float]:
    """Train, or go on training, the recipe's network into a run folder (see train.runs).

    dataset: its train rows are learned, its validation rows choose the best epoch. on_epoch: called with (epoch from
    0, that epoch's figures); an exception of it ends the run (pruning). note: kept in recipe.json, such as where the
    data is. Returns the figures of the best epoch. Raises DataError, RunError, TrainingError.
    """
    train, validation = dataset.subset(TRAIN), dataset.subset(VALIDATION)
    if train.images.shape[1:] != (recipe.size, recipe.size):
        side = train.images.shape[1]
        raise DataError(f"expected pictures of {recipe.size}x{recipe.size}, the data was read at {side}x{side}")
    keras.utils.set_random_seed(recipe.seed)
    keras.mixed_precision.set_dtype_policy(recipe.precision)
    network = _starting_network(recipe, len(dataset.classes))
    learner = Learner(
        network, Augment(recipe.augment, recipe.seed), teachers, recipe.teacher_share, recipe.teacher_temperature
    )
    _start_folder(folder, recipe, dataset, network, note or {})
    targets = soft_targets(
        train.labels,
        len(dataset.classes),
        train.votes,
        label_smoothing=recipe.label_smoothing,
        ferplus_blend=recipe.ferplus_blend,
    )
    batches = ShuffledBatches(
        train.images, targets, row_weights(train.labels, len(dataset.classes), recipe.class_weights), recipe
    )
    pictures = sharp_and_soft(train.images, recipe.norm_rows, recipe.augment, recipe.seed)
    books = Bookkeeping(folder, learner, recipe, pictures, validation)
    books.notify = on_epoch
    for first, last, share, rate in stages(recipe):
        if share is not None:
            unfreeze(network, share)
        learner.compile(optimizer=make_optimizer(recipe, len(batches), rate), metrics=["accuracy"])
        learner.optimizer.build(learner.trainable_variables)
        if books.checkpoint.exists() and books.epochs_done == 0:
            _resume_if_in(books, learner, last)
        done = max(books.epochs_done, first)
        if done >= last or books.stopped_early:
            continue
        batches.start_epoch(done)
        bar = EpochBar(len(batches), recipe.epochs)
        try:
            # The bar first: it has left the terminal when the epoch's line is printed.
            callbacks = [books] if quiet else [bar, books]
            learner.fit(batches, initial_epoch=done, epochs=last, callbacks=callbacks, verbose=0, shuffle=False)
        finally:
            bar.close()
    return _finish(folder, books)


def _starting_network(recipe: Recipe, classes: int) -> keras.Model:
    goes_on = recipe.weights.endswith(".keras")
    network = build_network(
        recipe.network,
        classes,
        recipe.size,
        dropout=None if recipe.dropout < 0 else recipe.dropout,
        squeeze_excite=recipe.squeeze_excite,
        weights="none" if goes_on else recipe.weights,
    )
    if goes_on:
        try:
            network.set_weights(keras.saving.load_model(recipe.weights, compile=False).get_weights())
        except (OSError, ValueError) as error:
            reason = " ".join(str(error).split())[:120]
            raise RunError(
                f"{recipe.weights} can't start a {recipe.network} of {classes} classes ({reason}); "
                "give the best.keras of a run of the same network"
            ) from error
    return network


def _start_folder(folder: Path, recipe: Recipe, data: Dataset, network: keras.Model, note: dict[str, Any]) -> None:
    """Write recipe.json, or check that the folder's own is the same."""
    path = folder / "recipe.json"
    mine = json.loads(json.dumps(recipe.as_dict()))
    counts = {split: int((data.splits == split).sum()) for split in np.unique(data.splits).tolist()}
    if path.exists():
        found = load_run(folder).recipe
        # More epochs may be asked for, but not where they would bend a schedule that is under way.
        free = {"epochs"} if recipe.schedule != "cosine" else set()
        other = [key for key in mine if mine[key] != found["recipe"].get(key) and key not in free]
        other += [] if list(data.classes) == found["classes"] else ["classes"]
        other += [] if counts == found["rows"] else ["number of rows"]
        if other:
            raise RunError(
                f"{folder} was begun with another {', '.join(other)}; resume with the same recipe or use another --run"
            )
        return
    record = {
        "schema": RUN_SCHEMA,
        "classes": list(data.classes),
        "size": recipe.size,
        "parameters": count_parameters(network),
        "macs": count_macs(network),
        "rows": counts,
        "dropped": {reason: len(origins) for reason, origins in data.dropped.items()},
        "recipe": mine,
        "versions": {
            "python": platform.python_version(),
            "keras": keras.__version__,
            "backend": keras.backend.backend(),
            "numpy": np.__version__,
        },
        **note,
    }
    write_text(path, json.dumps(record, indent=2) + "\n")


def _resume_if_in(books: Bookkeeping, learner: Learner, last: int) -> None:
    """Take the checkpoint up in the stage it was written in (each stage has an optimizer of its own)."""
    with np.load(books.checkpoint) as saved:
        state = json.loads(saved["state"].tobytes())
    done = len(state["history"])
    if done > last:
        return
    books.resume(learner.optimizer)


def _finish(folder: Path, books: Bookkeeping) -> dict[str, float]:
    best = books.history[books.best_epoch]
    result = {**best, "epochs_run": float(books.epochs_done), "minutes": sum(r["seconds"] for r in books.history) / 60}
    write_text(folder / "metrics.json", json.dumps(result, indent=2) + "\n")
    draw_curves(books.history, folder / "curves.png")
    log_look(
        folder,
        f"fit, after each of {books.epochs_done} epochs; best accuracy {best['val_accuracy']:.4f} at epoch "
        f"{books.best_epoch + 1}",
    )
    return result


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_data_arguments(parser)
    add_recipe_arguments(parser)
    parser.add_argument("--run", type=Path, required=True, help="the run's folder; an unfinished one is resumed")
    parser.add_argument("--quiet", action="store_true", help="a line an epoch instead of a progress bar")


def run(args: argparse.Namespace) -> int:
    return run_fit(args, recipe_from(args), [])


def run_fit(
    args: argparse.Namespace, recipe: Recipe, teachers: list[keras.Model], note: dict[str, Any] | None = None
) -> int:
    """Shared by fit and distil: data, training with progress, a summary; Ctrl-C says how to go on.

    note: more for recipe.json.
    """
    if recipe.teacher_share and not teachers:
        raise UsageError("this recipe distils: use python -m train distil --teacher RUN")
    data = dataset_from(args, recipe.size)
    quiet = args.quiet or not sys.stderr.isatty()
    began = time.monotonic()

    def report(epoch: int, row: dict[str, float]) -> None:
        print(
            f"epoch {epoch + 1:3d}/{recipe.epochs}  loss {row['loss']:.4f}  accuracy {row['accuracy']:.4f}  "
            f"validation {row['val_accuracy']:.4f}  macro-F1 {row['val_macro_f1']:.4f}  {row['seconds']:.1f} s",
            file=sys.stderr,
            flush=True,
        )

    sources = {"file": args.data.name, "ferplus": args.ferplus.name if args.ferplus else None}
    try:
        result = fit(
            recipe,
            data,
            args.run,
            teachers=teachers,
            on_epoch=report,
            quiet=quiet,
            note={"data": sources, **(note or {})},
        )
    except KeyboardInterrupt:
        print(f"stopped; every finished epoch is saved in {args.run}: the same command resumes", file=sys.stderr)
        return EXIT_INTERRUPTED
    record = json.loads((args.run / "recipe.json").read_text())
    print(
        json.dumps(
            {
                "run": str(args.run),
                "network": recipe.network,
                "parameters": record["parameters"],
                "macs": record["macs"],
                "best_epoch": int(result["epoch"]),
                "validation_accuracy": round(result["val_accuracy"], 4),
                "validation_macro_f1": round(result["val_macro_f1"], 4),
                "minutes": round((time.monotonic() - began) / 60, 1),
            }
        )
    )
    return 0
