"""What ``train search`` may change in a recipe, and within which bounds."""

import json
from dataclasses import dataclass, replace
from typing import Any

import optuna

from edge.errors import UsageError
from train.recipe import make_recipe, override

DEFAULT_SPACE = (
    "learning_rate=5e-4:1e-2:log",
    "weight_decay=5e-3:2e-1:log",
    "label_smoothing=0.0:0.2",
    "dropout=0.1:0.5",
)
"""What matters most at this size; ``ferplus_blend=0.0:0.6`` is added where FER+ is given."""


@dataclass(frozen=True, slots=True)
class Dimension:
    """One recipe key with the values it may take: a range of numbers, or choices."""

    key: str
    """A field of the recipe, or ``augment.`` and one of its settings."""
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    """Drawn evenly over orders of magnitude."""
    whole: bool = False
    """Whole numbers only."""
    choices: tuple[str, ...] = ()
    """As on the command line; empty for a range."""

    def suggest(self, trial: optuna.Trial) -> str:
        """The trial's value as an assignment ``key=value``."""
        if self.choices:
            return f"{self.key}={trial.suggest_categorical(self.key, self.choices)}"
        if self.whole:
            return f"{self.key}={trial.suggest_int(self.key, int(self.low), int(self.high), log=self.log)}"
        return f"{self.key}={trial.suggest_float(self.key, self.low, self.high, log=self.log)!r}"


def parse_dimension(text: str, base: dict[str, Any]) -> Dimension:
    """``learning_rate=1e-4:1e-2:log`` (a range), ``batch_size=64:256`` (whole as the recipe's) or ``network=a|b``.

    base: the recipe's plain values; both ends of a range, and every choice, must make a valid recipe of it. Raises
    UsageError.
    """
    key, equals, values = text.partition("=")
    usage = f"expected --tune KEY=LOW:HIGH, KEY=LOW:HIGH:log or KEY=A|B, got {text!r}"
    if not equals or not key.strip() or not values.strip():
        raise UsageError(usage)
    key = key.strip()
    if ":" not in values:
        choices = tuple(each.strip() for each in values.split("|"))
        if len(choices) < 2 or len(set(choices)) < len(choices) or not all(choices):
            raise UsageError(f"{usage}; name two different choices or more")
        found = Dimension(key, choices=choices)
        ends = choices
    else:
        low, high, *rest = (each.strip() for each in values.split(":"))
        if rest not in ([], ["log"]):
            raise UsageError(usage)
        try:
            numbers = float(low), float(high)
        except ValueError as error:
            raise UsageError(usage) from error
        if not numbers[0] < numbers[1] or (rest and numbers[0] <= 0):
            raise UsageError(f"expected {key} from a lower to a higher number (over 0 for log), got {values!r}")
        found = Dimension(key, *numbers, log=bool(rest))
        ends = (low, high)
    recipes = [make_recipe(override(base, [f"{key}={end}"])) for end in ends]
    if found.choices:
        return found
    owner = recipes[0].augment if key.startswith("augment.") else recipes[0]
    value = getattr(owner, key.removeprefix("augment."))
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UsageError(f"{key} is no number; name choices: --tune {key}=A|B")
    return replace(found, whole=isinstance(value, int))


def recipe_toml(values: dict[str, Any]) -> str:
    """A recipe's plain values as a recipe file that ``train fit --recipe`` reads. A JSON scalar or list is TOML too."""
    plain = [f"{key} = {json.dumps(value)}" for key, value in values.items() if not isinstance(value, dict)]
    tables = [
        f"\n[{key}]\n" + "\n".join(f"{inner} = {json.dumps(value)}" for inner, value in table.items())
        for key, table in values.items()
        if isinstance(table, dict)
    ]
    return "\n".join([*plain, *tables]) + "\n"
