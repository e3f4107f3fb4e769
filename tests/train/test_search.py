"""The search's bookkeeping on a made-up score, and the command on real trials, killed and taken up again."""

import argparse
import os
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.trial import TrialState

from edge.errors import RunError, TrainingError, UsageError
from tests.devdata import ROOT
from tests.train import shapes
from train import search
from train.data import Dataset
from train.recipe import Recipe, make_recipe
from train.search_report import best_recipe, complete, importances, search_page, trials_table
from train.space import Dimension, parse_dimension, recipe_toml

RECIPE = make_recipe(shapes.RECIPE | {"epochs": 6})
SPACE = [
    parse_dimension("learning_rate=1e-4:1e-1:log", RECIPE.as_dict()),
    parse_dimension("batch_size=8|16|32", RECIPE.as_dict()),
]


class KilledError(Exception):
    """Stands for kill -9: nothing after it runs."""


class MadeUpFit:
    """Scores a learning rate by how near it is to 1e-2, epoch by epoch, as train.fit would call on_epoch."""

    def __init__(self, kill_at: tuple[int, int] | None = None, diverge: bool = False, disk_full: bool = False) -> None:
        self.kill_at, self.diverge, self.disk_full = kill_at, diverge, disk_full
        self.folders: list[str] = []
        self.done: dict[str, int] = {}

    def __call__(self, recipe: Recipe, dataset: Dataset, folder: Path, *, on_epoch: Any) -> dict[str, float]:
        self.folders.append(folder.name)
        if self.disk_full:
            raise TrainingError("could not write") from OSError(28, "No space left on device")
        if self.diverge:
            raise TrainingError("the loss is not a number at epoch 1, step 1")
        best = 0.9 - abs(recipe.learning_rate - 0.01) * 8
        for epoch in range(self.done.get(folder.name, 0), recipe.epochs):
            if self.kill_at == (len(self.folders) - 1, epoch):
                raise KilledError
            self.done[folder.name] = epoch + 1
            on_epoch(epoch, {"val_accuracy": best * (epoch + 1) / recipe.epochs})
        return {"val_accuracy": best, "val_macro_f1": best - 0.1, "epochs_run": recipe.epochs, "minutes": 0.5}


def run_search(folder: Path, trials: int, made_up: MadeUpFit) -> optuna.Study:
    data = shapes.dataset()
    with search.only_search(folder):
        study = search.open_study(folder, RECIPE, SPACE, data)
        search.search(study, RECIPE, SPACE, data, folder, trials, made_up)
    return study


def test_trials_are_counted_over_restarts_and_the_best_is_kept(tmp_path: Path) -> None:
    first = run_search(tmp_path, 7, MadeUpFit())
    assert len(search.finished(first)) == 7
    again = MadeUpFit()
    study = run_search(tmp_path, 12, again)
    assert len(again.folders) == 5
    assert len(search.finished(study)) == 12
    assert len({str(trial.params) for trial in study.trials}) == 12  # a restart draws new ones
    best = complete(study)[0]
    assert best.value == max(trial.value or 0 for trial in complete(study))
    assert len((tmp_path / "run.log").read_text().splitlines()) == 12


def test_hopeless_trials_are_given_up(tmp_path: Path) -> None:
    study = run_search(tmp_path, 15, MadeUpFit())
    pruned = study.get_trials(states=(TrialState.PRUNED,))
    assert pruned
    for trial in pruned:
        assert len(trial.intermediate_values) < RECIPE.epochs
    mean = sum(max(trial.intermediate_values.values()) for trial in pruned) / len(pruned)
    assert mean < (complete(study)[0].value or 0)


@pytest.mark.parametrize("kill_at", [(0, 0), (2, 3), (4, 5)])
def test_a_killed_trial_goes_on_with_its_parameters_in_its_folder(tmp_path: Path, kill_at: tuple[int, int]) -> None:
    made_up = MadeUpFit(kill_at)
    with pytest.raises(KilledError):
        run_search(tmp_path, 6, made_up)
    killed = made_up.folders[kill_at[0]]
    made_up.kill_at = None
    study = run_search(tmp_path, 6, made_up)
    assert made_up.folders.count(killed) == 2
    assert len(search.finished(study)) == 6
    assert len(set(made_up.folders)) == 6
    twins = [trial for trial in study.trials if trial.user_attrs.get("folder") == killed]
    assert twins[0].params == twins[1].params
    assert [trial.state for trial in twins] == [TrialState.FAIL, TrialState.COMPLETE]
    assert sorted(twins[1].intermediate_values) == list(range(RECIPE.epochs))  # those of before were taken over


def test_a_few_diverged_trials_are_no_reason_to_stop_but_many_are(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="3 trials in a row diverged"):
        run_search(tmp_path, 10, MadeUpFit(diverge=True))
    study = run_search(tmp_path, 5, MadeUpFit())
    assert len(complete(study)) == 2
    assert len(search.finished(study)) == 5


def test_a_full_disk_stops_the_search_and_the_trial_is_taken_up_again(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="could not write"):
        run_search(tmp_path, 2, MadeUpFit(disk_full=True))
    made_up = MadeUpFit()
    run_search(tmp_path, 2, made_up)
    assert sorted(made_up.folders) == ["trial-0000", "trial-0002"]


def test_a_folder_of_another_search_or_of_none_is_refused(tmp_path: Path) -> None:
    run_search(tmp_path / "a", 1, MadeUpFit())
    with pytest.raises(RunError, match="recipe"):
        search.open_study(tmp_path / "a", make_recipe(shapes.RECIPE), SPACE, shapes.dataset())
    with pytest.raises(RunError, match="space"):
        search.open_study(tmp_path / "a", RECIPE, SPACE[:1], shapes.dataset())
    (tmp_path / "b").mkdir()
    (tmp_path / "b/study.db").write_text("not a database, but long enough to look like one" * 100)
    with pytest.raises(RunError, match=r"study\.db") as caught:
        search.open_study(tmp_path / "b", RECIPE, SPACE, shapes.dataset())
    assert "\n" not in str(caught.value)
    with (
        search.only_search(tmp_path / "a"),
        pytest.raises(RunError, match="another search"),
        search.only_search(tmp_path / "a"),
    ):
        pass


def test_a_real_fit_stops_at_the_epoch_that_gives_it_up(tmp_path: Path) -> None:
    data = shapes.dataset(rows={"train": 8, "validation": 4})
    recipe = make_recipe(shapes.RECIPE)
    study = search.open_study(tmp_path, recipe, SPACE, data)
    study.pruner = optuna.pruners.ThresholdPruner(lower=1.1)  # no accuracy will do
    search.search(study, recipe, SPACE, data, tmp_path, 1)
    assert [trial.state for trial in study.trials] == [TrialState.PRUNED]
    assert len((tmp_path / "trial-0000/history.csv").read_text().splitlines()) == 2  # the head and one epoch


def test_the_report_tells_what_was_found(tmp_path: Path) -> None:
    study = run_search(tmp_path, 15, MadeUpFit())
    best = complete(study)[0]
    table = trials_table(study).splitlines()
    assert best.user_attrs["folder"] in table[1]
    assert f"{best.value:.2%}" in table[1]
    assert importances(study)["learning_rate"] > importances(study)["batch_size"]
    page = search_page(study, "data.csv", RECIPE)
    assert page.count("data:image/png;base64,") == 3
    values = tomllib.loads(best_recipe(study, RECIPE))
    found = make_recipe(values)
    assert found.learning_rate == best.params["learning_rate"]
    assert found.batch_size == int(best.params["batch_size"])
    assert found.augment == RECIPE.augment


def test_a_search_without_a_completed_trial_reports_that(tmp_path: Path) -> None:
    with pytest.raises(TrainingError):
        run_search(tmp_path, 5, MadeUpFit(diverge=True))
    study = search.open_study(tmp_path, RECIPE, SPACE, shapes.dataset())
    assert "0 trials complete, 0 given up early, 3 diverged" in search_page(study, "data.csv", RECIPE)
    assert make_recipe(tomllib.loads(best_recipe(study, RECIPE))) == Recipe()


@pytest.mark.parametrize(
    "text",
    [
        "learning_rate",
        "learning_rate=",
        "=1:2",
        "learning_rate=1",
        "learning_rate=2:1",
        "learning_rate=0:1:log",
        "learning_rate=1:2:linear",
        "learning_rate=a:b",
        "learning_rat=1e-4:1e-2",
        "batch_size=16:64.5",
        "batch_size=0:64",
        "optimizer=adam|adamm",
        "optimizer=adam|adam",
        "label_smoothing=0.0:3.0",
        "augment.cutoff=0.0:0.1",
        "augment.flip=0:1",
        "network=1:2",
        "learning_rate=nan:1",
    ],
)
def test_a_dimension_that_makes_no_recipe_is_refused(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_dimension(text, RECIPE.as_dict())
    assert "\n" not in str(caught.value)


def test_dimensions_follow_the_recipes_types() -> None:
    base = RECIPE.as_dict()
    assert parse_dimension("ferplus_blend=0:1", base) == Dimension("ferplus_blend", 0, 1)
    assert parse_dimension("batch_size=16:64:log", base) == Dimension("batch_size", 16, 64, log=True, whole=True)
    assert parse_dimension("augment.cutout=0:0.5", base) == Dimension("augment.cutout", 0, 0.5)
    assert parse_dimension("optimizer=adam|sgd", base) == Dimension("optimizer", choices=("adam", "sgd"))


@given(st.floats(1e-9, 99), st.floats(1e-9, 99), st.booleans())
@settings(max_examples=60, deadline=None)
def test_every_drawn_value_lies_in_its_range_and_makes_a_recipe(low: float, high: float, log: bool) -> None:
    low, high = sorted((low, high))
    if low == high:
        return
    dimension = parse_dimension(f"learning_rate={low!r}:{high!r}{':log' if log else ''}", RECIPE.as_dict())
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    key, value = dimension.suggest(study.ask()).split("=")
    assert key == "learning_rate"
    assert low * (1 - 1e-9) <= float(value) <= high * (1 + 1e-9)
    make_recipe(RECIPE.as_dict() | {key: float(value)})


def test_a_recipe_survives_its_file() -> None:
    values = RECIPE.as_dict() | {
        "learning_rate": 1e-05,
        "weights": 'a "quoted" file.keras',
        "unfreeze": ((0, 0.0, 1e-3),),
    }
    assert make_recipe(tomllib.loads(recipe_toml(values))) == make_recipe(values)


def test_arguments_that_can_not_be_meant(tmp_path: Path) -> None:
    parser = argparse.ArgumentParser()
    search.add_arguments(parser)
    common = ["--data", str(tmp_path), "--run", str(tmp_path / "run")]
    for more in (["--trials", "0"], ["--tune", "dropout=0.1:0.2", "--tune", "dropout=0.1:0.3"]):
        with pytest.raises(UsageError):
            search.run(parser.parse_args([*common, *more]))
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_the_command_killed_with_signal_9_goes_on(tmp_path: Path) -> None:
    data = shapes.write_folder(tmp_path / "data", shapes.dataset())
    run = tmp_path / "run"
    recipe = tmp_path / "shapes.toml"
    recipe.write_text(recipe_toml(make_recipe(shapes.RECIPE).as_dict()))
    command = [sys.executable, "-m", "train", "search", "--data", str(data), "--run", str(run), "--trials", "2"]
    command += ["--recipe", str(recipe), "--tune", "learning_rate=3e-4:3e-3:log"]
    log = tmp_path / "stderr"
    with log.open("w") as stderr:
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=stderr)
        deadline = time.monotonic() + 200
        while "epoch   2" not in log.read_text() and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.wait(30)
    assert process.returncode == -signal.SIGKILL, log.read_text()
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr
    assert "2 trials complete" in done.stdout
    taken_up = done.stderr.split("trial-0000")[1].split("trial 2/2")[0]
    assert "epoch   1" not in taken_up  # from its checkpoint, not from the start
    history = (run / "trial-0000/history.csv").read_text().splitlines()
    assert len(history) == 1 + int(shapes.RECIPE["epochs"])  # type: ignore[call-overload]
    assert make_recipe(tomllib.loads((run / "best.toml").read_text())).network == "three-conv"
    assert (run / "report.html").stat().st_size > 20_000
