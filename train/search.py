"""``python -m train search``: look for better hyper-parameters with Optuna.

Trials are drawn by a tree-structured Parzen estimator (Bergstra et al., NIPS 2011); one that is worse than the median
of the others at the same epoch is given up. Everything is in the run's folder as it happens, so a killed search goes
on where it was, in the middle of a trial too. The score is validation accuracy, so the more trials, the more the best
of them is lucky: confirm it with ``train crossvalidate`` or other seeds.
"""

import argparse
import fcntl
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import optuna
from optuna.trial import FrozenTrial, TrialState

from edge.errors import RunError, TrainingError, UsageError
from train.checkpoint import write_text
from train.data import Dataset
from train.fit import fit
from train.options import add_data_arguments, add_recipe_arguments, dataset_from, recipe_from
from train.recipe import Recipe, make_recipe, override
from train.runs import log_look
from train.search_report import best_recipe, search_page, trials_table
from train.space import DEFAULT_SPACE, Dimension, parse_dimension

STUDY = "search"
STARTUP_TRIALS = 5
"""Trials drawn at random, and never given up, before the estimator and the pruner have something to go by."""
MAX_DIVERGED = 3
"""So many trials in a row without a finite loss are no bad luck."""

Fit = Callable[..., dict[str, float]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_data_arguments(parser)
    add_recipe_arguments(parser)
    parser.add_argument("--run", type=Path, required=True, metavar="DIR", help="its folder; an unfinished one goes on")
    parser.add_argument("--trials", type=int, default=20, metavar="N", help="in all, those of before too (%(default)s)")
    parser.add_argument(
        "--tune",
        action="append",
        default=[],
        metavar="KEY=RANGE",
        help="what to vary: learning_rate=1e-4:1e-2:log, batch_size=64|128, augment.cutout=0.0:0.5; may be repeated "
        f"(default: {' '.join(DEFAULT_SPACE)})",
    )


def run(args: argparse.Namespace) -> int:
    if args.trials < 1:
        raise UsageError(f"expected --trials of 1 or more, got {args.trials}")
    recipe = recipe_from(args)
    wanted = args.tune or [*DEFAULT_SPACE, *(["ferplus_blend=0.0:0.6"] if args.ferplus else [])]
    space = [parse_dimension(text, recipe.as_dict()) for text in wanted]
    if len({each.key for each in space}) < len(space):
        raise UsageError("expected each key once in --tune; leave the repeated one out")
    dataset = dataset_from(args, recipe.size)
    try:
        with only_search(args.run):
            study = open_study(args.run, recipe, space, dataset)
            search(study, recipe, space, dataset, args.run, args.trials)
    except KeyboardInterrupt:
        print(f"stopped; every epoch is saved in {args.run}: the same command goes on", file=sys.stderr, flush=True)
        os._exit(130)  # Keras' data threads would keep the interpreter waiting
    write_text(args.run / "report.html", search_page(study, args.data.name, recipe))
    write_text(args.run / "best.toml", best_recipe(study, recipe))
    print(trials_table(study))
    print(f"written: {args.run / 'best.toml'} (train fit --recipe), {args.run / 'report.html'}")
    return 0


@contextmanager
def only_search(folder: Path) -> Iterator[None]:
    """Hold the folder's lock: a second search would take the first one's running trial for a dead one's."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise RunError(f"another search is at work in {folder}; wait for it or use another --run folder") from error
        yield


def open_study(folder: Path, recipe: Recipe, space: list[Dimension], dataset: Dataset) -> optuna.Study:
    """The folder's study, new or continued; trials that a killed search left are queued again.

    Raises RunError where it was begun with another recipe, space or data: their scores could not be compared.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        study = optuna.create_study(
            storage=f"sqlite:///{folder / 'study.db'}", study_name=STUDY, direction="maximize", load_if_exists=True
        )
    except Exception as error:  # SQLAlchemy's and Optuna's own, for a file that is no database or of another version
        reason = str(error).splitlines()[0][:160]
        raise RunError(f"{folder / 'study.db'} can't be opened ({reason}); use another --run folder") from error
    about = {
        "recipe": json.loads(json.dumps(recipe.as_dict())),
        "space": [repr(each) for each in space],
        "data": {"classes": list(dataset.classes), "rows": len(dataset)},
    }
    found = study.user_attrs
    other = [key for key, value in about.items() if key in found and found[key] != value]
    if other:
        raise RunError(f"{folder} was begun with another {', '.join(other)}; use the same, or another --run folder")
    for key, value in about.items():
        study.set_user_attr(key, value)
    # A seed of its own for each start: the same one would draw the trials of before again.
    study.sampler = optuna.samplers.TPESampler(n_startup_trials=STARTUP_TRIALS, seed=recipe.seed + len(study.trials))
    study.pruner = optuna.pruners.MedianPruner(STARTUP_TRIALS, n_warmup_steps=max(1, recipe.epochs // 5))
    for trial in study.get_trials(states=(TrialState.RUNNING,)):
        _queue_again(study, trial)
    return study


def search(
    study: optuna.Study,
    recipe: Recipe,
    space: list[Dimension],
    dataset: Dataset,
    folder: Path,
    trials: int,
    fit_network: Fit = fit,
) -> None:
    """Run trials until the study has ``trials`` finished ones (complete, given up or diverged).

    fit_network: train.fit.fit, or its like. Raises TrainingError where the disk is full, or where MAX_DIVERGED trials
    in a row diverge.
    """
    diverged = 0
    while (done := len(finished(study))) < trials:
        trial = study.ask()
        name = trial.user_attrs.get("folder", f"trial-{trial.number:04d}")
        trial.set_user_attr("folder", name)
        for epoch, value in trial.user_attrs.get("seen", {}).items():
            trial.report(value, int(epoch))
        assignments = [each.suggest(trial) for each in space]
        tried = make_recipe(override(recipe.as_dict(), assignments))
        print(f"trial {done + 1}/{trials} ({name}): {'  '.join(assignments)}", file=sys.stderr, flush=True)
        try:
            result = fit_network(tried, dataset, folder / name, on_epoch=_watch(trial))
        except optuna.TrialPruned:
            study.tell(trial, state=TrialState.PRUNED)
            outcome = "given up"
            diverged = 0
        except TrainingError as error:
            if isinstance(error.__cause__, OSError):
                raise  # the disk, not the hyper-parameters
            diverged += 1
            trial.set_user_attr("diverged", str(error))
            study.tell(trial, state=TrialState.FAIL)
            outcome = "diverged"
            if diverged == MAX_DIVERGED:
                raise TrainingError(
                    f"{diverged} trials in a row diverged, the last one so: {error}; narrow --tune, in another --run"
                ) from error
        else:
            for key in ("val_macro_f1", "epochs_run", "minutes"):
                trial.set_user_attr(key, result[key])
            study.tell(trial, result["val_accuracy"])
            outcome = f"accuracy {result['val_accuracy']:.4f}"
            diverged = 0
        log_look(folder, f"search {name}: {outcome}")
        print(f"  {outcome}", file=sys.stderr, flush=True)
        keras.utils.clear_session()


def finished(study: optuna.Study) -> list[FrozenTrial]:
    """Trials that are over; not those that a killed search left, which were queued again."""
    return [
        trial
        for trial in study.get_trials(deepcopy=False)
        if trial.state in (TrialState.COMPLETE, TrialState.PRUNED) or "diverged" in trial.user_attrs
    ]


def _queue_again(study: optuna.Study, trial: FrozenTrial) -> None:
    """Close a trial that was under way and queue one with its parameters and folder, where its checkpoint is."""
    study.tell(trial.number, state=TrialState.FAIL)
    folder = trial.user_attrs.get("folder")
    if folder is not None:
        seen = {str(epoch): value for epoch, value in trial.intermediate_values.items()}
        study.enqueue_trial(trial.params, user_attrs={"folder": folder, "seen": seen})


def _watch(trial: optuna.Trial) -> Callable[[int, dict[str, float]], None]:
    seen: set[int] = {int(epoch) for epoch in trial.user_attrs.get("seen", {})}

    def watch(epoch: int, row: dict[str, Any]) -> None:
        print(f"  epoch {epoch + 1:3d}  validation {row['val_accuracy']:.4f}", file=sys.stderr, flush=True)
        if epoch not in seen:
            trial.report(row["val_accuracy"], epoch)
        if trial.should_prune():
            raise optuna.TrialPruned

    return watch
