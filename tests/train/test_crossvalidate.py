"""Cross-validation of a network small enough to be trained here."""

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge.errors import DataError, RunError, UsageError
from tests.train import shapes
from train import crossvalidate
from train.data import TEST, Dataset
from train.fit import fit
from train.predict import predict_logits
from train.recipe import make_recipe
from train.space import recipe_toml

FOLDS = 3
ROWS = {"train": 20, "validation": 7, "test": 4}


def run_command(data: Path, folder: Path, *more: str, folds: int = FOLDS) -> int:
    recipe = folder.parent / "shapes.toml"
    recipe.write_text(recipe_toml(make_recipe(shapes.RECIPE).as_dict()))
    parser = argparse.ArgumentParser()
    crossvalidate.add_arguments(parser)
    arguments = ["--data", str(data), "--run", str(folder), "--folds", str(folds), "--recipe", str(recipe), *more]
    return crossvalidate.run(parser.parse_args(arguments))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(data folder, run folder) of a finished cross-validation."""
    folder = tmp_path_factory.mktemp("crossvalidation")
    data = shapes.write_folder(folder / "data", shapes.dataset(rows=ROWS))
    assert run_command(data, folder / "run") == 0
    return data, folder / "run"


def test_every_row_is_scored_once_by_a_network_that_did_not_learn_it(finished: tuple[Path, Path]) -> None:
    _, folder = finished
    found = json.loads((folder / "crossvalidation.json").read_text())
    accuracies = [each["val_accuracy"] for each in found["folds"]]
    assert len(accuracies) == FOLDS
    assert found["accuracy"]["mean"] == pytest.approx(np.mean(accuracies))
    assert found["accuracy"]["standard_deviation"] == pytest.approx(np.std(accuracies, ddof=1))
    assert found["out_of_fold"]["rows"] == 3 * 27  # the test rows are left alone
    assert np.array(found["out_of_fold"]["confusion"]).sum(axis=1).tolist() == [27, 27, 27]
    assert found["out_of_fold"]["accuracy"] == pytest.approx(np.mean(accuracies), abs=1e-6)  # folds of equal size
    for number in range(1, FOLDS + 1):
        rows = json.loads((folder / f"fold-{number}/recipe.json").read_text())["rows"]
        assert rows == {"train": 54, "validation": 27}
    page = (folder / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 7
    assert "validation crossvalidate 3 folds" in (folder / "run.log").read_text()


def test_finished_folds_are_not_trained_again(
    finished: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data, folder = finished
    before = json.loads((folder / "crossvalidation.json").read_text())
    (folder / "crossvalidation.json").unlink()
    monkeypatch.setattr(crossvalidate, "fit", lambda *_, **__: pytest.fail("a finished fold was trained again"))
    assert run_command(data, folder) == 0
    assert json.loads((folder / "crossvalidation.json").read_text()) == before
    assert f"accuracy {before['accuracy']['mean']:.2%} ±" in capsys.readouterr().out


def test_an_interrupted_fold_is_trained_and_the_others_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = shapes.dataset(rows={"train": 8, "validation": 4})
    recipe = make_recipe(shapes.RECIPE | {"epochs": 1})
    fitted: list[str] = []

    def stopping(recipe: Any, dataset: Dataset, folder: Path, **more: Any) -> dict[str, float]:
        fitted.append(folder.name)
        if fitted == ["fold-1", "fold-2"]:
            raise KeyboardInterrupt
        return fit(recipe, dataset, folder, **more)

    monkeypatch.setattr(crossvalidate, "fit", stopping)
    with pytest.raises(KeyboardInterrupt):
        crossvalidate.crossvalidate(recipe, data, 2, tmp_path)
    results, card = crossvalidate.crossvalidate(recipe, data, 2, tmp_path)
    assert fitted == ["fold-1", "fold-2", "fold-2"]
    assert len(results) == 2
    held_out = predict_logits(tmp_path / "fold-2/best.keras", data.images).argmax(axis=1)
    assert (card.predicted == held_out).sum() >= 18  # half the rows are fold 2's


def test_a_folder_begun_with_something_else_is_refused(finished: tuple[Path, Path], tmp_path: Path) -> None:
    data, folder = finished
    with pytest.raises(RunError, match="folds"):
        run_command(data, folder, folds=4)
    with pytest.raises(RunError, match="recipe"):
        run_command(data, folder, "--seed", "5")
    other = shapes.write_folder(tmp_path / "other", shapes.dataset(seed=1, rows=ROWS))
    with pytest.raises(RunError, match="rows_sha256"):
        run_command(other, folder)
    with pytest.raises(UsageError, match="folds"):
        run_command(data, tmp_path / "run", folds=1)
    with pytest.raises(DataError, match="fewer folds"):
        run_command(data, tmp_path / "run", folds=40)
    assert not (tmp_path / "run").exists()


def test_identical_pictures_never_lie_in_two_folds() -> None:
    data = shapes.dataset(rows=ROWS)
    images = data.images.copy()
    twins = np.flatnonzero(data.splits == "validation")[:2]
    images[twins] = images[0]
    pool = crossvalidate.pooled(replace(data, images=images))
    assert len(pool) == 3 * 27 - 2
    assert len({image.tobytes() for image in pool.images}) == len(pool)
    assert TEST not in pool.splits
