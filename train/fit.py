"""``python -m train fit``: from labelled pictures to a network, resumable at any moment."""

import argparse
import json
import math
import os
import platform
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from edge.errors import DataError, RunError, UsageError
from train.augment import Augment
from train.bookkeeping import Bookkeeping, EpochCallback
from train.checkpoint import write_text
from train.curves import draw_curves
from train.data import TRAIN, VALIDATION, Dataset, load_dataset
from train.learner import Learner
from train.networks import build_network
from train.networks.cost import count_macs, count_parameters
from train.networks.transfer import BASE_NAME, TRANSFER_BASES
from train.recipe import Recipe, make_recipe, override, read_recipe
from train.runs import RUN_SCHEMA
from train.targets import row_weights, soft_targets


class ShuffledBatches(keras.utils.PyDataset):
    """Batches of one epoch in an order that depends on seed and epoch alone, so that a resumed run sees the same."""

    def __init__(
        self, images: NDArray[np.uint8], targets: NDArray[np.float32], weights: NDArray[np.float32], recipe: Recipe
    ) -> None:
        super().__init__()
        self.images, self.targets, self.weights, self.recipe = images[..., None], targets, weights, recipe
        self.start_epoch(0)

    def start_epoch(self, epoch: int) -> None:
        self.epoch = epoch
        self.order = np.random.default_rng((self.recipe.seed, epoch)).permutation(len(self.images))

    def on_epoch_end(self) -> None:
        self.start_epoch(self.epoch + 1)

    def __len__(self) -> int:
        # A short last batch would be compiled anew and weigh its rows more; its rows come up in another epoch.
        return max(1, len(self.images) // self.recipe.batch_size)

    def __getitem__(self, index: int) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.float32]]:
        rows = self.order[index * self.recipe.batch_size : (index + 1) * self.recipe.batch_size]
        return self.images[rows], self.targets[rows], self.weights[rows]


def make_optimizer(recipe: Recipe, steps_per_epoch: int, learning_rate: float | None = None) -> keras.Optimizer:
    """The recipe's optimizer with its schedule; a fixed ``learning_rate`` overrides the schedule (unfreezing)."""
    rate: Any = recipe.learning_rate if learning_rate is None else learning_rate
    if recipe.schedule == "cosine" and learning_rate is None:
        warmup = round(recipe.warmup_epochs * steps_per_epoch)
        rate = keras.optimizers.schedules.CosineDecay(
            0.0 if warmup else rate,
            max(1, recipe.epochs * steps_per_epoch - warmup),
            alpha=0.01,
            warmup_target=rate if warmup else None,
            warmup_steps=warmup,
        )
    common: dict[str, Any] = {
        "global_clipnorm": recipe.clip_norm or None,
        "use_ema": recipe.average > 0,
        "ema_momentum": recipe.average,
    }
    if recipe.optimizer == "sgd":
        return keras.optimizers.SGD(rate, momentum=recipe.momentum, nesterov=True, **common)
    if recipe.optimizer == "adam":
        return keras.optimizers.Adam(rate, **common)
    optimizer = keras.optimizers.AdamW(rate, weight_decay=recipe.weight_decay, **common)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer


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
    _check_splits(train, validation, recipe)
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
    books = Bookkeeping(folder, learner, recipe, validation)
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
        learner.fit(
            batches, initial_epoch=done, epochs=last, callbacks=[books], verbose=0 if quiet else 1, shuffle=False
        )
    return _finish(folder, books)


def stages(recipe: Recipe) -> list[tuple[int, int, float | None, float | None]]:
    """(first epoch, end, share of the base that trains, learning rate); one stage but for gradual unfreezing."""
    if not recipe.unfreeze:
        return [(0, recipe.epochs, None, None)]
    starts = [int(first) for first, _, _ in recipe.unfreeze] + [recipe.epochs]
    return [
        (first, end, share, rate)
        for first, end, (_, share, rate) in zip(starts[:-1], starts[1:], recipe.unfreeze, strict=True)
    ]


def unfreeze(network: keras.Model, share: float) -> None:
    """Make the last ``share`` of the base's layers trainable and freeze the others; batch norms stay frozen."""
    base = network.get_layer(BASE_NAME)
    base.trainable = True
    kept = math.floor(len(base.layers) * (1 - share))
    for index, layer in enumerate(base.layers):
        layer.trainable = index >= kept and not isinstance(layer, keras.layers.BatchNormalization)


def _starting_network(recipe: Recipe, classes: int) -> keras.Model:
    dropout = None if recipe.dropout < 0 else recipe.dropout
    if recipe.network not in TRANSFER_BASES and recipe.weights.endswith(".keras"):
        network = build_network(
            recipe.network, classes, recipe.size, dropout=dropout, squeeze_excite=recipe.squeeze_excite
        )
        network.set_weights(keras.saving.load_model(recipe.weights, compile=False).get_weights())
        return network
    return build_network(
        recipe.network,
        classes,
        recipe.size,
        dropout=dropout,
        squeeze_excite=recipe.squeeze_excite,
        weights=recipe.weights,
    )


def _check_splits(train: Dataset, validation: Dataset, recipe: Recipe) -> None:
    for split, rows in ((TRAIN, train), (VALIDATION, validation)):
        if len(rows) == 0:
            raise DataError(f"expected {split} rows, the data has none; give a file or folder with that split")
        missing = [name for index, name in enumerate(rows.classes) if index not in rows.labels]
        if len(missing) == len(rows.classes) - 1:
            raise DataError(f"all {len(rows)} {split} rows are of one class; give pictures of two classes or more")
        if missing:
            raise DataError(
                f"the {split} rows have none of class {', '.join(missing)}; add some or leave it out with --classes"
            )
    if train.images.shape[1:] != (recipe.size, recipe.size):
        raise DataError(f"expected pictures of {recipe.size}x{recipe.size}, the data has {train.images.shape[1:]}")


def _start_folder(folder: Path, recipe: Recipe, data: Dataset, network: keras.Model, note: dict[str, Any]) -> None:
    """Write recipe.json, or check that the folder's own is the same."""
    path = folder / "recipe.json"
    mine = json.loads(json.dumps(recipe.as_dict()))
    if path.exists():
        found = json.loads(path.read_text())
        if found.get("schema") != RUN_SCHEMA:
            raise RunError(
                f"{path} is of schema {found.get('schema')!r}, this is {RUN_SCHEMA}; use another --run folder"
            )
        theirs = found["recipe"] | {"epochs": mine["epochs"]}
        other = [key for key in mine if mine[key] != theirs.get(key)]
        if found["recipe"]["epochs"] != mine["epochs"] and recipe.schedule == "cosine":
            other.append("epochs")
        if list(data.classes) != found["classes"]:
            other.append("classes")
        if other:
            raise RunError(
                f"{folder} was begun with another {', '.join(other)}; resume with the same recipe or use another --run"
            )
        return
    counts = {split: int((data.splits == split).sum()) for split in np.unique(data.splits).tolist()}
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
    with (folder / "run.log").open("a") as log:
        log.write(
            f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} fit: validation looked at after each of "
            f"{books.epochs_done} epochs; best {best['val_accuracy']:.4f} at epoch {books.best_epoch + 1}\n"
        )
    return result


# ---- command line ---------------------------------------------------------------------------------------------------


def add_data_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, required=True, help="fer2013.csv, ckextended.csv or a folder of classes")
    parser.add_argument("--ferplus", type=Path, help="fer2013new.csv, the FER+ votes of the same rows")
    parser.add_argument("--classes", help="a subset, such as angry,happy,sad")


def add_recipe_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--recipe", default="mobile", help="a name in train/recipes or a .toml file")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="assignments")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--weights", help="imagenet, none or a file")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_data_arguments(parser)
    add_recipe_arguments(parser)
    parser.add_argument("--run", type=Path, required=True, help="the run's folder; an unfinished one is resumed")
    parser.add_argument("--quiet", action="store_true", help="a line an epoch instead of a progress bar")


def recipe_from(args: argparse.Namespace) -> Recipe:
    values = override(read_recipe(args.recipe), args.assignments)
    for key in ("epochs", "seed", "weights"):
        if getattr(args, key) is not None:
            values[key] = getattr(args, key)
    return make_recipe(values)


def dataset_from(args: argparse.Namespace, size: int) -> Dataset:
    classes = tuple(name.strip() for name in args.classes.split(",")) if args.classes else None
    data = load_dataset(args.data, ferplus=args.ferplus, classes=classes, size=size)
    for reason, origins in data.dropped.items():
        print(f"left out {len(origins)} rows: {reason} (such as {', '.join(origins[:3])})", file=sys.stderr)
    return data


def run(args: argparse.Namespace) -> int:
    return run_fit(args, recipe_from(args), [])


def run_fit(args: argparse.Namespace, recipe: Recipe, teachers: list[keras.Model]) -> int:
    """Shared by fit and distil: data, training with progress, a summary; Ctrl-C says how to go on."""
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

    note = {"data": {"file": args.data.name, "ferplus": args.ferplus.name if args.ferplus else None}}
    try:
        result = fit(recipe, data, args.run, teachers=teachers, on_epoch=report, quiet=quiet, note=note)
    except KeyboardInterrupt:
        print(f"stopped; every finished epoch is saved in {args.run}: the same command resumes", file=sys.stderr)
        sys.stderr.flush()
        os._exit(130)  # Keras' data threads would keep the interpreter waiting
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
