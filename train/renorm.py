"""``python -m train renorm``: a finished run with its batch norms estimated anew, on pictures as they come in use.

What ``fit`` does where the recipe has norm_rows, for a run that was trained without. Or on another camera's pictures,
to adapt a network to them (Li et al. 2016, arXiv:1603.04779): their labels serve the scores alone.
"""

import argparse
import json
from pathlib import Path

import keras

from edge.errors import RunError, UsageError
from train.batch_norm import estimate_statistics, sharp_and_soft
from train.bookkeeping import validation_scores
from train.checkpoint import replace_file, write_text
from train.dataset import TRAIN, VALIDATION
from train.options import add_data_arguments, dataset_from
from train.recipe import Recipe, make_recipe
from train.runs import load_run, log_look


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run_dir", type=Path, metavar="RUN_DIR", help="a finished training run")
    add_data_arguments(parser)
    parser.add_argument("--run", type=Path, required=True, help="the new run's folder")
    parser.add_argument("--rows", type=int, default=Recipe().norm_rows, help="training pictures (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="which of them")


def run(args: argparse.Namespace) -> int:
    source = load_run(args.run_dir)
    if args.rows < 1:
        raise UsageError(f"expected --rows of at least 1, got {args.rows}")
    try:
        scores, log = ((args.run_dir / name).read_text() for name in ("metrics.json", "run.log"))
    except OSError as error:
        raise RunError(
            f"{args.run_dir} is not finished ({error.strerror}: {error.filename}); go on with the command that began it"
        ) from error
    if (args.run / "recipe.json").exists():
        raise RunError(f"{args.run} holds a run already; name another folder")
    data = dataset_from(args, source.size)
    if data.classes != source.classes:
        raise RunError(
            f"{args.run_dir} has classes {', '.join(source.classes)}, the data {', '.join(data.classes)}; "
            "name the run's with --classes"
        )
    augment = make_recipe(source.recipe["recipe"]).augment
    pictures = sharp_and_soft(data.subset(TRAIN).images, args.rows, augment, args.seed)
    validation = data.subset(VALIDATION)
    network = keras.saving.load_model(source.model_path, compile=False)
    before = validation_scores(network, validation)
    if not estimate_statistics(network, pictures):
        raise RunError(f"{source.model_path} has no batch norm to estimate, or only frozen ones; use it as it is")
    after = validation_scores(network, validation)

    replace_file(args.run / "best.keras", network.save)
    made_from = {"run": args.run_dir.name, "data": args.data.name, "rows": len(pictures), "seed": args.seed}
    write_text(args.run / "recipe.json", json.dumps({**source.recipe, "renorm": made_from}, indent=2) + "\n")
    write_text(args.run / "metrics.json", json.dumps(json.loads(scores) | after, indent=2) + "\n")
    write_text(args.run / "run.log", log)
    log_look(args.run, f"renorm on {len(pictures)} pictures, accuracy {after['val_accuracy']:.4f}")
    print(
        json.dumps({"run": str(args.run), "rows": len(pictures), "before": _rounded(before), "after": _rounded(after)})
    )
    return 0


def _rounded(scores: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 4) for name, value in scores.items()}
