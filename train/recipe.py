"""A recipe: everything a training run is made with, read from a short TOML file and the command line.

Recipes that ship lie in ``train/recipes``; each one's header says command, result and cost.
"""

import dataclasses
import difflib
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edge.errors import UsageError
from train.augment import AugmentSettings

RECIPES = Path(__file__).parent / "recipes"


@dataclass(frozen=True, slots=True)
class Recipe:
    network: str = "mobile"
    """A name of train.networks."""
    size: int = 48
    """Side of the square input in pixels: 48, 64, 96, 224."""
    squeeze_excite: bool = False
    dropout: float = -1.0
    """Negative: the architecture's own."""
    weights: str = "none"
    """Transfer networks: imagenet, none or a weights file. Others: none, or a .keras file to start from."""
    unfreeze: tuple[tuple[float, float, float], ...] = ()
    """Transfer: (first epoch, share of the base's layers trainable from its end, learning rate) for each stage."""

    epochs: int = 60
    batch_size: int = 128
    optimizer: str = "adamw"
    """adamw, adam or sgd (with Nesterov momentum)."""
    learning_rate: float = 3e-3
    momentum: float = 0.9
    """SGD only."""
    weight_decay: float = 0.05
    """AdamW's decoupled decay, kernels only. SGD and Adam: none."""
    clip_norm: float = 5.0
    """Global norm the gradient is clipped to; 0: not."""
    schedule: str = "cosine"
    """cosine (to 1 % of the rate), plateau (ReduceLROnPlateau on validation accuracy) or constant."""
    warmup_epochs: float = 3.0
    """Linear from 0; cosine only."""
    plateau_epochs: int = 5
    plateau_factor: float = 0.5
    early_stop_epochs: int = 0
    """Stop after so many epochs without a better validation accuracy; 0: never."""
    average: float = 0.0
    """Momentum of the exponential moving average of the weights, a step; 0: none."""
    norm_rows: int = 4096
    """Training pictures, every second one augmented, that batch norms are estimated on for validation and best.keras
    (train.batch_norm); 0: their moving averages, as for a teacher, whose pupils show it augmented pictures alone."""

    label_smoothing: float = 0.1
    ferplus_blend: float = 0.0
    """Share of FER+'s vote distribution in the targets, where the row has votes."""
    class_weights: str = "none"
    """none, sqrt (inverse square root of frequency) or balanced (inverse frequency); mean 1."""

    teacher_share: float = 0.0
    """Distillation: share of the teachers' soft targets in the loss; the rest is the labels'."""
    teacher_temperature: float = 2.0

    augment: AugmentSettings = field(default_factory=AugmentSettings)
    precision: str = "float32"
    """float32 or mixed_bfloat16 (for teachers on a GPU)."""
    seed: int = 0

    def as_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


CHOICES = {
    "optimizer": ("adamw", "adam", "sgd"),
    "schedule": ("cosine", "plateau", "constant"),
    "class_weights": ("none", "sqrt", "balanced"),
    "precision": ("float32", "mixed_bfloat16"),
}
_RANGES = {
    "size": (32, 512),
    "epochs": (1, 100_000),
    "batch_size": (1, 65_536),
    "learning_rate": (0.0, 100.0),
    "average": (0.0, 0.99999),
    "norm_rows": (0, 10_000_000),
    "label_smoothing": (0.0, 0.9),
    "ferplus_blend": (0.0, 1.0),
    "teacher_share": (0.0, 1.0),
    "teacher_temperature": (0.1, 100.0),
}


def read_recipe(name: str) -> dict[str, Any]:
    """The plain values of a recipe file: a name in train/recipes or a path. Raises UsageError."""
    path = RECIPES / f"{name}.toml" if not name.endswith(".toml") else Path(name)
    try:
        return tomllib.loads(path.read_text())
    except FileNotFoundError as error:
        known = ", ".join(sorted(p.stem for p in RECIPES.glob("*.toml")))
        raise UsageError(f"expected a recipe of {known} or a .toml file, found no {path}; name one of these") from error
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path} is not TOML ({error}); mend that line") from error


def make_recipe(values: dict[str, Any]) -> Recipe:
    """A Recipe from plain values (an ``augment`` table within). Raises UsageError that names the nearest known key."""
    augment = _checked(AugmentSettings, dict(values.get("augment", {})), "augment.")
    rest = {key: value for key, value in values.items() if key != "augment"}
    if "unfreeze" in rest:
        rest["unfreeze"] = tuple(tuple(float(number) for number in stage) for stage in rest["unfreeze"])
    recipe = Recipe(augment=AugmentSettings(**augment), **_checked(Recipe, rest, ""))
    for key, allowed in CHOICES.items():
        if getattr(recipe, key) not in allowed:
            raise UsageError(f"expected {key} to be one of {', '.join(allowed)}, got {getattr(recipe, key)!r}")
    for key, (low, high) in _RANGES.items():
        if not low <= getattr(recipe, key) <= high:
            raise UsageError(f"expected {key} between {low} and {high}, got {getattr(recipe, key)}; mend the recipe")
    return recipe


def override(values: dict[str, Any], assignments: list[str]) -> dict[str, Any]:
    """Apply ``key=value`` texts (``augment.cutout=0.2`` too); a value is read as TOML, else taken as text."""
    result = {**values, "augment": dict(values.get("augment", {}))}
    for text in assignments:
        key, equals, value = text.partition("=")
        if not equals:
            raise UsageError(f"expected --set key=value, got {text!r}")
        try:
            parsed = tomllib.loads(f"v = {value}")["v"]
        except tomllib.TOMLDecodeError:
            parsed = value
        if key.startswith("augment."):
            result["augment"][key.removeprefix("augment.")] = parsed
        else:
            result[key] = parsed
    return result


def _checked(kind: type, values: dict[str, Any], prefix: str) -> dict[str, Any]:
    fields = {f.name: f for f in dataclasses.fields(kind)}
    checked = {}
    for key, value in values.items():
        if key not in fields:
            near = difflib.get_close_matches(key, fields, n=1, cutoff=0.0)
            raise UsageError(f"unknown recipe key {prefix}{key}; the nearest known one is {prefix}{near[0]}")
        wanted = fields[key].type
        if wanted is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if isinstance(wanted, type) and (not isinstance(value, wanted) or (wanted is int and isinstance(value, bool))):
            raise UsageError(f"expected {prefix}{key} to be {wanted.__name__}, got {value!r}; mend the recipe")
        checked[key] = value
    return checked
