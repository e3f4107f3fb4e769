"""Training end to end on shapes that a tiny network learns in seconds: resume, refusal, distillation, unfreezing."""

import csv
import errno
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from edge.errors import DataError, RunError, TrainingError
from tests.devdata import ROOT
from tests.train.shapes import CLASSES, RECIPE, SIDE, dataset, write_folder
from train import checkpoint
from train.__main__ import main
from train.bookkeeping import network_logits
from train.data import TRAIN, VALIDATION
from train.distil import load_teachers
from train.fit import fit
from train.networks import build_network
from train.networks.transfer import BASE_NAME
from train.recipe import Recipe, make_recipe
from train.runs import load_run
from train.unfreezing import unfreeze


def recipe(**values: Any) -> Recipe:
    return make_recipe({**RECIPE, **values})


def weights(folder: Path) -> list[Any]:
    return list(keras.saving.load_model(folder / "best.keras", compile=False).get_weights())


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with everything that has state: averages, AdamW, cosine, dropout, augmentation."""
    folder = tmp_path_factory.mktemp("run") / "whole"
    fit(recipe(epochs=4, schedule="cosine", warmup_epochs=1.0, average=0.9), dataset(), folder)
    return folder


def test_a_run_learns_and_leaves_what_its_folder_promises(finished: Path) -> None:
    run = load_run(finished)
    assert run.classes == CLASSES
    assert run.size == SIDE
    with (finished / "history.csv").open() as file:
        history = list(csv.DictReader(file))
    assert [float(row["epoch"]) for row in history] == [1, 2, 3, 4]
    metrics = json.loads((finished / "metrics.json").read_text())
    assert metrics["val_accuracy"] == pytest.approx(max(float(row["val_accuracy"]) for row in history), abs=1e-5)
    assert metrics["val_accuracy"] > 0.6  # chance is a third
    assert (finished / "curves.png").read_bytes()[:4] == b"\x89PNG"
    assert "4 epochs" in (finished / "run.log").read_text()


def test_the_best_network_is_the_one_that_was_scored(finished: Path) -> None:
    rows = dataset().subset(VALIDATION)
    network = keras.saving.load_model(finished / "best.keras", compile=False)
    logits = network_logits(network, rows.images)
    scored = json.loads((finished / "metrics.json").read_text())
    assert (logits.argmax(axis=1) == rows.labels).mean() == pytest.approx(scored["val_accuracy"])
    loss = keras.ops.mean(keras.losses.sparse_categorical_crossentropy(rows.labels, logits, from_logits=True))
    assert float(loss) == pytest.approx(scored["val_loss"], rel=1e-3)


def test_a_run_stopped_after_any_epoch_goes_on_as_if_it_had_not_been(finished: Path, tmp_path: Path) -> None:
    class StopError(Exception):
        pass

    def stop_after_two(epoch: int, row: dict[str, float]) -> None:
        if epoch == 1:
            raise StopError

    mine = recipe(epochs=4, schedule="cosine", warmup_epochs=1.0, average=0.9)
    with pytest.raises(StopError):
        fit(mine, dataset(), tmp_path / "run", on_epoch=stop_after_two)
    seen: list[int] = []
    fit(mine, dataset(), tmp_path / "run", on_epoch=lambda epoch, row: seen.append(epoch))
    assert seen == [2, 3]
    whole, resumed = (json.loads((f / "metrics.json").read_text()) for f in (finished, tmp_path / "run"))
    for key in ("loss", "val_loss", "val_accuracy"):
        assert resumed[key] == pytest.approx(whole[key], rel=1e-4), key
    for a, b in zip(weights(finished), weights(tmp_path / "run"), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)


def test_a_finished_run_is_not_trained_again(finished: Path) -> None:
    mine = recipe(epochs=4, schedule="cosine", warmup_epochs=1.0, average=0.9)
    before = (finished / "last.npz").read_bytes()
    result = fit(mine, dataset(), finished, on_epoch=lambda epoch, row: pytest.fail("trained"))
    assert result["epochs_run"] == 4
    assert (finished / "last.npz").read_bytes() == before


def test_killed_with_minus_nine_it_resumes_from_the_last_epoch(tmp_path: Path) -> None:
    data = write_folder(tmp_path / "data", dataset())
    settings = [f"{key}={json.dumps(value)}" for key, value in RECIPE.items() if key not in ("augment", "epochs")]
    command = [sys.executable, "-m", "train", "fit", "--data", str(data), "--run", str(tmp_path / "run"), "--quiet"]
    command += [part for text in settings for part in ("--set", text)]
    child = subprocess.Popen([*command, "--epochs", "500"], cwd=ROOT, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 200
    history = tmp_path / "run" / "history.csv"
    while time.monotonic() < deadline and child.poll() is None:
        if history.exists() and len(history.read_text().splitlines()) > 3:
            break
        time.sleep(0.05)
    child.send_signal(signal.SIGKILL)
    child.communicate(timeout=30)
    done = len(history.read_text().splitlines()) - 1
    assert done >= 3
    again = subprocess.run(
        [*command, "--epochs", str(done + 2)], cwd=ROOT, capture_output=True, text=True, timeout=250, check=False
    )
    assert again.returncode == 0, again.stderr
    epochs = [line for line in again.stderr.splitlines() if line.startswith("epoch")]
    # The checkpoint is written just before the history, so one more epoch may have been saved.
    assert len(epochs) in (1, 2), again.stderr
    assert json.loads(again.stdout)["network"] == "three-conv"


def test_ctrl_c_says_how_to_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any) -> None:
    data = write_folder(tmp_path / "data", dataset())

    def interrupted(*args: Any, **named: Any) -> dict[str, float]:
        raise KeyboardInterrupt

    monkeypatch.setattr("train.fit.fit", interrupted)
    arguments = ["train", "fit", "--data", str(data), "--run", str(tmp_path / "run"), "--set", f"size={SIDE}"]
    monkeypatch.setattr(sys, "argv", arguments)
    assert main() == 130
    assert "the same command resumes" in capfd.readouterr().err


def test_a_nan_loss_stops_says_where_and_keeps_the_last_good_state(tmp_path: Path) -> None:
    """An endless vote in one row of the second epoch's data, spoils one step's loss."""
    good = dataset()
    mine = recipe(epochs=6, ferplus_blend=0.5)
    fit(replace(mine, epochs=1), good, tmp_path / "run")
    kept = (tmp_path / "run" / "best.keras").read_bytes()
    votes = np.ones((len(good), len(CLASSES)), np.float32)
    votes[5] = np.inf  # its share is not a number
    with pytest.raises(TrainingError, match=r"not a number at epoch 2, step \d+.*checkpoint after epoch 1"):
        fit(mine, replace(good, votes=votes), tmp_path / "run")
    assert (tmp_path / "run" / "best.keras").read_bytes() == kept
    assert len(json.loads(np.load(tmp_path / "run" / "last.npz")["state"].tobytes())["history"]) == 1


def test_a_full_disk_while_checkpointing_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "last.npz"
    variable = keras.Variable(np.arange(3.0))
    checkpoint.save_checkpoint(path, [variable], {"epoch": 1})
    before = path.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(TrainingError, match=r"No space left on device.*previous one is intact"):
        checkpoint.save_checkpoint(path, [variable], {"epoch": 2})
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["last.npz"]


def test_a_checkpoint_that_is_damaged_or_of_another_network(tmp_path: Path) -> None:
    path = tmp_path / "last.npz"
    checkpoint.save_checkpoint(path, [keras.Variable(np.zeros(3))], {})
    with pytest.raises(RunError, match="another"):
        checkpoint.load_checkpoint(path, [keras.Variable(np.zeros(4))])
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(RunError, match="delete it"):
        checkpoint.load_checkpoint(path, [keras.Variable(np.zeros(3))])


def test_a_folder_of_another_recipe_or_version_is_refused(finished: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"another .*network"):
        fit(recipe(epochs=4, schedule="cosine", network="mobile"), dataset(), finished)
    old = tmp_path / "old"
    old.mkdir()
    (old / "recipe.json").write_text('{"schema": "emotion-edge/run/0"}')
    with pytest.raises(RunError, match="emotion-edge/run/1"):
        fit(recipe(), dataset(), old)
    (old / "recipe.json").write_text('{"schema": ')
    with pytest.raises(RunError, match="not JSON"):
        fit(recipe(), dataset(), old)


def test_a_run_is_not_resumed_on_other_data(finished: Path) -> None:
    mine = recipe(epochs=4, schedule="cosine", warmup_epochs=1.0, average=0.9)
    fewer = dataset(rows={"train": 30, "validation": 16, "test": 12})
    with pytest.raises(RunError, match="another number of rows"):
        fit(mine, fewer, finished)


def test_pictures_of_another_size_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected pictures of 48x48"):
        fit(recipe(size=48), dataset(), tmp_path / "run")


@pytest.mark.parametrize("optimizer", ["adam", "sgd", "adamw"])
def test_every_optimizer_lowers_the_loss(optimizer: str, tmp_path: Path) -> None:
    losses: list[float] = []
    rate = 0.01 if optimizer == "sgd" else 1e-3
    fit(
        recipe(optimizer=optimizer, learning_rate=rate, class_weights="balanced"),
        dataset(),
        tmp_path / "run",
        on_epoch=lambda epoch, row: losses.append(row["loss"]),
    )
    assert losses[-1] < losses[0]


def test_plateau_lowers_the_rate_and_early_stopping_ends_the_run(tmp_path: Path) -> None:
    rates: list[float] = []
    still = recipe(
        schedule="plateau", plateau_epochs=1, early_stop_epochs=3, epochs=20, optimizer="sgd", learning_rate=1e-12
    )
    result = fit(still, dataset(), tmp_path / "run", on_epoch=lambda epoch, row: rates.append(row["learning_rate"]))
    assert result["epochs_run"] == 4
    assert rates[-1] < rates[0]


def test_distilling_teaches_more_than_the_labels(tmp_path: Path, finished: Path) -> None:
    """A student that sees no label but its teacher's answers learns the classes."""
    (teacher,) = load_teachers([finished], recipe(), CLASSES)
    before = [np.array(array) for array in teacher.get_weights()]
    student = recipe(epochs=4, teacher_share=1.0, teacher_temperature=1.0)
    shuffled = dataset()
    lies = replace(
        shuffled,
        labels=np.where(
            shuffled.splits == TRAIN, np.random.default_rng(0).permutation(shuffled.labels), shuffled.labels
        ),
    )
    result = fit(student, lies, tmp_path / "student", teachers=[teacher])
    assert result["val_accuracy"] > 0.6
    for a, b in zip(before, teacher.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_distilled_run_names_its_teachers(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    data = write_folder(tmp_path / "data", dataset())
    arguments = ["train", "distil", "--teacher", str(finished), "--data", str(data), "--run", str(tmp_path / "run")]
    settings = {**RECIPE, "epochs": 1}
    arguments += [f"--set={key}={json.dumps(value)}" for key, value in settings.items() if key != "augment"]
    monkeypatch.setattr(sys, "argv", arguments)
    assert main() == 0, capfd.readouterr().err
    (teacher,) = json.loads((tmp_path / "run" / "recipe.json").read_text())["teachers"]
    assert (teacher["run"], teacher["network"]) == ("whole", "three-conv")
    assert teacher["validation_accuracy"] > 0.6


def test_a_teacher_of_other_classes_is_refused(finished: Path) -> None:
    with pytest.raises(RunError, match="angry, happy, sad"):
        load_teachers([finished], recipe(), ("angry", "happy", "neutral"))


def test_unfreezing_trains_the_end_of_the_base_first(tmp_path: Path) -> None:
    network = build_network("mobilenetv2", 3, 32)
    base = network.get_layer(BASE_NAME)
    unfreeze(network, 0.0)
    assert not base.trainable_variables
    unfreeze(network, 0.3)
    some = len(base.trainable_variables)
    unfreeze(network, 1.0)
    assert 0 < some < len(base.trainable_variables)
    assert not any(layer.trainable for layer in base.layers if isinstance(layer, keras.layers.BatchNormalization))


def test_transfer_learning_in_stages_with_lower_rates(tmp_path: Path) -> None:
    rates: list[float] = []
    staged = recipe(network="mobilenetv2", epochs=2, unfreeze=[[0, 0.0, 1e-3], [1, 0.2, 1e-4]])
    fit(staged, dataset(), tmp_path / "run", on_epoch=lambda epoch, row: rates.append(row["learning_rate"]))
    assert rates == pytest.approx([1e-3, 1e-4])


def test_a_run_starts_from_another_runs_network(finished: Path, tmp_path: Path) -> None:
    file = str(finished / "best.keras")
    result = fit(recipe(epochs=1, learning_rate=1e-9, weights=file), dataset(), tmp_path / "run")
    assert result["val_accuracy"] == pytest.approx(json.loads((finished / "metrics.json").read_text())["val_accuracy"])
    with pytest.raises(RunError, match=r"best\.keras of a run"):
        fit(recipe(weights=file, network="six-conv"), dataset(), tmp_path / "other")
