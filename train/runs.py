"""A training run's folder: what is in it and how it is read back.

    recipe.json   everything the run was made with: schema, classes, size, network, optimizer, seed, data, versions
    best.keras    the network at its best validation accuracy, as it is used: weights averaged, batch norms estimated
    last.npz      the state to resume from: weights, optimizer, averages, epoch, random state
    history.csv   one row an epoch         curves.png   the same to look at
    metrics.json  validation scores of best.keras
    run.log       every look at the validation split is written here

The network takes (N, H, W, 1) float32 raw grey 0..255 (scaling is inside) and gives (N, C) float32 logits.
"""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge.errors import RunError

RUN_SCHEMA = "emotion-edge/run/1"


def utc_now() -> str:
    """As run.log has it: 2026-11-20T16:10:56Z."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def log_look(folder: Path, text: str) -> None:
    """Note a look at the validation split in the run's log: the more looks, the less its score means."""
    path = folder / "run.log"
    try:
        with path.open("a") as log:
            log.write(f"{utc_now()} validation {text}\n")
    except OSError as error:
        raise RunError(
            f"could not note this look at the validation split in {path} ({error.strerror}); permit writing there, or "
            "copy the run"
        ) from error


@dataclass(frozen=True)
class Run:
    folder: Path
    recipe: dict[str, Any]

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(self.recipe["classes"])

    @property
    def size(self) -> int:
        """Side of the square input in pixels."""
        return int(self.recipe["size"])

    @property
    def model_path(self) -> Path:
        return self.folder / "best.keras"


def load_run(folder: Path) -> Run:
    """Read a run. Raises RunError where the folder is no run, of another version, or has no trained network."""
    path = folder / "recipe.json"
    try:
        recipe = json.loads(path.read_text())
    except OSError as error:
        raise RunError(
            f"expected a training run with recipe.json in {folder}, found none ({error.strerror}); "
            "make one with python -m train fit --data FILE --run DIR"
        ) from error
    except ValueError as error:
        raise RunError(f"{path} is not JSON ({error}); train again into a new folder") from error
    found = recipe.get("schema")
    if found != RUN_SCHEMA:
        raise RunError(f"expected a run of schema {RUN_SCHEMA}, {path} says {found!r}; train again into a new folder")
    return Run(folder, recipe)
