"""Batch norms estimated for use: the statistics are the pictures' own, and training goes on as if nothing had been."""

import json
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.train.shapes import CLASSES, RECIPE, dataset, write_folder
from train.__main__ import main
from train.augment import AugmentSettings
from train.batch_norm import BATCH_PIXELS, estimate_statistics, sharp_and_soft
from train.bookkeeping import validation_scores
from train.data import VALIDATION
from train.fit import fit
from train.recipe import make_recipe
from train.runs import load_run

CONVOLUTIONAL = {**RECIPE, "network": "six-conv", "average": 0.9, "epochs": 2}
"""Batch norms, dropout and a weight average."""


def pictures(count: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (count, 8, 8)).astype(np.uint8)


def lone_norm() -> keras.Model:
    inputs = keras.Input((8, 8, 1))
    return keras.Model(inputs, keras.layers.BatchNormalization(momentum=0.9)(inputs))


BATCH = BATCH_PIXELS // 64


@given(count=st.integers(1, 3 * BATCH), seed=st.integers(0, 99))
@settings(max_examples=15, deadline=None)
def test_mean_and_variance_are_the_pictures_own(count: int, seed: int) -> None:
    images = pictures(count, seed)
    network = lone_norm()
    assert estimate_statistics(network, images)
    (norm,) = (layer for layer in network.layers if isinstance(layer, keras.layers.BatchNormalization))
    assert norm.momentum == 0.9
    # Batches differ by one picture at most, so the mean of their means is the mean of all but for that.
    assert float(norm.moving_mean[0]) == pytest.approx(images.mean(), rel=2e-3)
    assert float(norm.moving_variance[0]) == pytest.approx(images.var(), rel=1e-2)


def test_weights_and_frozen_norms_stay() -> None:
    network = lone_norm()
    norm = network.layers[1]
    before = [np.array(array) for array in network.get_weights()]
    norm.trainable = False
    assert not estimate_statistics(network, pictures(20))
    for a, b in zip(before, network.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    norm.trainable = True
    estimate_statistics(network, pictures(20))
    for a, b in zip(before[:2], network.get_weights()[:2], strict=True):
        np.testing.assert_array_equal(a, b)


def test_dropout_is_off_as_it_is_in_use() -> None:
    inputs = keras.Input((8, 8, 1))
    x = keras.layers.Dropout(0.5)(inputs)
    network = keras.Model(inputs, keras.layers.BatchNormalization()(x))
    images = pictures(200)
    estimate_statistics(network, images)
    assert float(network.layers[2].moving_variance[0]) == pytest.approx(images.var(), rel=1e-3)
    assert network.layers[1].rate == 0.5


def test_a_network_without_batch_norms_and_no_pictures_say_so() -> None:
    inputs = keras.Input((8, 8, 1))
    assert not estimate_statistics(keras.Model(inputs, keras.layers.Flatten()(inputs)), pictures(4))
    assert not estimate_statistics(lone_norm(), pictures(0))


def test_every_second_picture_is_augmented_and_none_is_there_twice() -> None:
    images = np.repeat(np.arange(50, dtype=np.uint8), 64).reshape(50, 8, 8) * 4
    brighter = AugmentSettings(flip=False, rotate_deg=0, shift=0, shear=0, contrast=0, cutout=0, brightness=1.9)
    drawn = sharp_and_soft(images, 20, brighter, 1)
    assert len(drawn) == 20
    assert len(set(drawn[:, 0, 0].tolist()) & set(images[:, 0, 0].tolist())) >= 10
    np.testing.assert_array_equal(drawn[::2] % 4, 0)
    assert (drawn[1::2] % 4 != 0).any()
    np.testing.assert_array_equal(drawn, sharp_and_soft(images, 20, brighter, 1))
    assert not np.array_equal(drawn, sharp_and_soft(images, 20, brighter, 2))
    assert len(sharp_and_soft(images, 4096, brighter, 0)) == 50
    assert len(sharp_and_soft(images, 0, brighter, 0)) == 0
    np.testing.assert_array_equal(images % 4, 0)


@pytest.fixture(scope="module")
def without(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[float]]:
    """A finished run that kept its moving averages, and its losses."""
    folder, losses = tmp_path_factory.mktemp("norms") / "without", []
    mine = make_recipe({**CONVOLUTIONAL, "norm_rows": 0})
    fit(mine, dataset(), folder, on_epoch=lambda epoch, row: losses.append(row["loss"]))
    return folder, losses


def test_training_itself_is_the_same_with_and_without(without: tuple[Path, list[float]], tmp_path: Path) -> None:
    losses: list[float] = []
    mine = make_recipe({**CONVOLUTIONAL, "norm_rows": 60})
    fit(mine, dataset(), tmp_path / "with", on_epoch=lambda epoch, row: losses.append(row["loss"]))
    assert losses == pytest.approx(without[1], rel=1e-5)
    statistics = [
        [
            layer.moving_mean.numpy()
            for layer in keras.saving.load_model(folder / "best.keras", compile=False).layers
            if isinstance(layer, keras.layers.BatchNormalization)
        ]
        for folder in (without[0], tmp_path / "with")
    ]
    assert not np.allclose(statistics[0][0], statistics[1][0], rtol=0.01)


def renorm(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["train", "renorm", *arguments])
    return main()


def test_a_finished_run_is_estimated_anew(
    without: tuple[Path, list[float]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    data, out = write_folder(tmp_path / "data", dataset()), tmp_path / "out"
    arguments = (str(without[0]), "--data", str(data), "--rows", "50")
    assert renorm(monkeypatch, *arguments, "--run", str(out)) == 0
    said = json.loads(capfd.readouterr().out)
    made = load_run(out)
    assert made.classes == CLASSES
    assert made.recipe["renorm"] == {"run": "without", "data": "data", "rows": 50, "seed": 0}
    network = keras.saving.load_model(made.model_path, compile=False)
    scored = validation_scores(network, dataset().subset(VALIDATION))
    assert said["after"]["val_accuracy"] == pytest.approx(scored["val_accuracy"], abs=1e-4)
    assert json.loads((out / "metrics.json").read_text())["val_loss"] == pytest.approx(scored["val_loss"], rel=1e-3)
    assert "renorm on 50 pictures" in (out / "run.log").read_text()

    assert renorm(monkeypatch, *arguments, "--run", str(out)) == 1
    assert "holds a run already" in capfd.readouterr().err
    assert renorm(monkeypatch, *arguments, "--classes", "angry,happy", "--run", str(tmp_path / "new")) == 1
    assert "--classes" in capfd.readouterr().err
    assert renorm(monkeypatch, *arguments[:-1], "0", "--run", str(tmp_path / "new")) == 2
    assert "at least 1" in capfd.readouterr().err


def test_a_run_without_batch_norms_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any) -> None:
    fit(make_recipe({**RECIPE, "epochs": 1}), dataset(), tmp_path / "plain")
    data = write_folder(tmp_path / "data", dataset())
    assert renorm(monkeypatch, str(tmp_path / "plain"), "--data", str(data), "--run", str(tmp_path / "out")) == 1
    assert "no batch norm" in capfd.readouterr().err
    assert not (tmp_path / "out").exists()
    (tmp_path / "plain" / "metrics.json").unlink()
    assert renorm(monkeypatch, str(tmp_path / "plain"), "--data", str(data), "--run", str(tmp_path / "out")) == 1
    assert "not finished" in capfd.readouterr().err
