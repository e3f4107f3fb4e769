"""The recipe's optimizer with its schedule."""

from typing import Any

import keras

from train.recipe import Recipe


def make_optimizer(recipe: Recipe, steps_per_epoch: int, learning_rate: float | None = None) -> keras.Optimizer:
    """The recipe's optimizer with its schedule; a fixed ``learning_rate`` overrides the schedule (unfreezing)."""
    rate: Any = recipe.learning_rate if learning_rate is None else learning_rate
    if recipe.schedule == "cosine" and learning_rate is None:
        warmup = round(recipe.warmup_epochs * steps_per_epoch)
        rate = keras.optimizers.schedules.CosineDecay(
            0.0 if warmup else rate,
            max(1, recipe.epochs * steps_per_epoch - warmup),
            alpha=0.01,
            warmup_target=rate if warmup else None,
            warmup_steps=warmup,
        )
    common: dict[str, Any] = {
        "global_clipnorm": recipe.clip_norm or None,
        "use_ema": recipe.average > 0,
        "ema_momentum": recipe.average,
    }
    if recipe.optimizer == "sgd":
        return keras.optimizers.SGD(rate, momentum=recipe.momentum, nesterov=True, **common)
    if recipe.optimizer == "adam":
        return keras.optimizers.Adam(rate, **common)
    optimizer = keras.optimizers.AdamW(rate, weight_decay=recipe.weight_decay, **common)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer
