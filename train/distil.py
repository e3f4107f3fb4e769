"""``python -m train distil``: a larger network of one's own teaches the small one."""

import argparse
import json
from pathlib import Path
from typing import Any

import keras

from edge.errors import RunError, UsageError
from train import fit
from train.options import recipe_from
from train.recipe import Recipe
from train.runs import Run, load_run


def add_arguments(parser: argparse.ArgumentParser) -> None:
    fit.add_arguments(parser)
    parser.set_defaults(recipe="distilled")
    parser.add_argument("--teacher", type=Path, action="append", required=True, help="a run's folder; may be repeated")


def load_teachers(folders: list[Path], recipe: Recipe, classes: tuple[str, ...] | None) -> list[keras.Model]:
    """The networks of these runs. Raises RunError where classes or size differ from the student's."""
    teachers = []
    for folder in folders:
        found = load_run(folder)
        if found.size != recipe.size or (classes and found.classes != classes):
            raise RunError(
                f"teacher {folder} has classes {', '.join(found.classes)} at {found.size} pixels; the student needs "
                f"{', '.join(classes or found.classes)} at {recipe.size}: train a teacher on the same data"
            )
        teachers.append(keras.saving.load_model(found.model_path, compile=False))
    return teachers


def describe(teacher: Run) -> dict[str, Any]:
    """What recipe.json, and so the bundle's card, says of a teacher: name, size, seed, how good it was."""
    metrics = json.loads((teacher.folder / "metrics.json").read_text())
    return {
        "run": teacher.folder.name,
        "network": teacher.recipe["recipe"]["network"],
        "seed": teacher.recipe["recipe"]["seed"],
        "parameters": teacher.recipe["parameters"],
        "validation_accuracy": round(metrics["val_accuracy"], 4),
    }


def run(args: argparse.Namespace) -> int:
    recipe = recipe_from(args)
    if recipe.teacher_share == 0:
        raise UsageError("the recipe's teacher_share is 0, so a teacher would teach nothing; set it to .5 or so")
    classes = tuple(name.strip() for name in args.classes.split(",")) if args.classes else None
    teachers = load_teachers(args.teacher, recipe, classes)
    return fit.run_fit(args, recipe, teachers, {"teachers": [describe(load_run(folder)) for folder in args.teacher]})
