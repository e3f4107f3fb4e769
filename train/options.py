"""Command-line options that fit, distil, crossvalidate and search share."""

import argparse
import sys
from pathlib import Path

from train.data import load_dataset
from train.dataset import Dataset
from train.recipe import Recipe, make_recipe, override, read_recipe


def add_data_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, required=True, help="fer2013.csv, ckextended.csv or a folder of classes")
    parser.add_argument("--ferplus", type=Path, help="fer2013new.csv, the FER+ votes of the same rows")
    parser.add_argument("--classes", help="a subset, such as angry,happy,sad")


def add_recipe_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--recipe", default="mobile", help="a name in train/recipes or a .toml file")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="assignments")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--weights", help="imagenet, none, a weights file, or a run's best.keras")


def recipe_from(args: argparse.Namespace) -> Recipe:
    values = override(read_recipe(args.recipe), args.assignments)
    for key in ("epochs", "seed", "weights"):
        if getattr(args, key) is not None:
            values[key] = getattr(args, key)
    return make_recipe(values)


def dataset_from(args: argparse.Namespace, size: int) -> Dataset:
    classes = tuple(name.strip() for name in args.classes.split(",")) if args.classes else None
    data = load_dataset(args.data, ferplus=args.ferplus, classes=classes, size=size)
    for line in data.dropped_lines():
        print(line, file=sys.stderr)
    return data
