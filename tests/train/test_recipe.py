"""Recipes: files that ship, overrides, and messages for what can't be meant."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.errors import UsageError
from train.recipe import RECIPES, Recipe, make_recipe, override, read_recipe
from train.targets import row_weights, soft_targets
from train.unfreezing import stages


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.toml")), ids=lambda path: path.stem)
def test_every_recipe_that_ships_is_valid_and_says_command_result_and_cost(path: Path) -> None:
    recipe = make_recipe(read_recipe(path.stem))
    header = path.read_text()
    assert recipe.epochs >= 1
    for word in ("# command  python -m train", "# result", "# cost"):
        assert word in header


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"learning_rte": 1e-3}, "nearest known one is learning_rate"),
        ({"augment": {"cutot": 0.1}}, r"nearest known one is augment\.cutout"),
        ({"optimizer": "rmsprop"}, "adamw, adam, sgd"),
        ({"epochs": 0}, "epochs between 1"),
        ({"epochs": "many"}, "epochs to be int"),
        ({"epochs": True}, "epochs to be int"),
        ({"ferplus_blend": 1.5}, "ferplus_blend between 0"),
    ],
)
def test_what_can_not_be_meant_is_named(values: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make_recipe(values)


def test_overrides_reach_every_level() -> None:
    values = override(read_recipe("mobile"), ["learning_rate=0.01", "augment.cutout=0", "network=six-conv", "epochs=3"])
    recipe = make_recipe(values)
    assert (recipe.learning_rate, recipe.augment.cutout, recipe.network, recipe.epochs) == (0.01, 0.0, "six-conv", 3)
    with pytest.raises(UsageError, match="key=value"):
        override({}, ["epochs"])


def test_a_missing_or_broken_recipe_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="distilled"):
        read_recipe("mobil")
    broken = tmp_path / "broken.toml"
    broken.write_text("epochs = = 3")
    with pytest.raises(UsageError, match="not TOML"):
        read_recipe(str(broken))


@given(
    st.lists(st.integers(0, 2), min_size=1, max_size=20),
    st.floats(0, 0.9),
    st.floats(0, 1),
    st.integers(0, 2**32 - 1),
)
def test_soft_targets_are_distributions(labels: list[int], smoothing: float, blend: float, seed: int) -> None:
    votes = np.random.default_rng(seed).integers(0, 4, (len(labels), 3)).astype(np.float32)
    targets = soft_targets(np.array(labels), 3, votes, label_smoothing=smoothing, ferplus_blend=blend)
    np.testing.assert_allclose(targets.sum(axis=1), 1, atol=1e-5)
    assert (targets >= 0).all()


def test_soft_targets_by_hand() -> None:
    labels, votes = np.array([0, 1]), np.array([[1, 3, 0], [0, 0, 0]], np.float32)
    targets = soft_targets(labels, 3, votes, label_smoothing=0.3, ferplus_blend=0.5)
    np.testing.assert_allclose(targets[0], [0.5 * 0.8 + 0.5 * 0.25, 0.5 * 0.1 + 0.5 * 0.75, 0.05], atol=1e-6)
    np.testing.assert_allclose(targets[1], [0.1, 0.8, 0.1], atol=1e-6)  # nobody voted: the label alone


def test_class_weights_have_mean_one_and_favour_the_rare() -> None:
    labels = np.array([0] * 90 + [1] * 10)
    balanced, sqrt = row_weights(labels, 2, "balanced"), row_weights(labels, 2, "sqrt")
    assert balanced.mean() == pytest.approx(1)
    assert balanced[-1] / balanced[0] == pytest.approx(9)
    assert sqrt[-1] / sqrt[0] == pytest.approx(3)
    assert (row_weights(labels, 2, "none") == 1).all()


def test_stages_of_gradual_unfreezing() -> None:
    assert stages(Recipe(epochs=9)) == [(0, 9, None, None)]
    recipe = make_recipe({"epochs": 9, "unfreeze": [[0, 0.0, 1e-3], [3, 0.5, 1e-4], [6, 1.0, 1e-5]]})
    assert stages(recipe) == [(0, 3, 0.0, 1e-3), (3, 6, 0.5, 1e-4), (6, 9, 1.0, 1e-5)]
