"""What a search found: a table, pictures, and the best trial as a recipe file."""

import html
import textwrap

import numpy as np
import optuna
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from optuna.trial import FrozenTrial, TrialState

from train.pictures import BLUE, GREEN, GREY, ORANGE, png
from train.recipe import Recipe, make_recipe, override
from train.report import heading, page, paragraph, picture, table
from train.space import recipe_toml

SHOWN = 10
"""Rows of the table."""


def complete(study: optuna.Study) -> list[FrozenTrial]:
    """The trials that ran to their end, best first."""
    trials = study.get_trials(states=(TrialState.COMPLETE,))
    return sorted(trials, key=lambda trial: (-(trial.value or 0.0), trial.number))


def trials_table(study: optuna.Study) -> str:
    """The best trials for a terminal."""
    head, rows = _table(study)
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in [head, *rows]]
    return "\n".join([*lines, _counts(study)])


def search_page(study: optuna.Study, data: str, recipe: Recipe) -> str:
    """The report: table, history, importance, every parameter against the score."""
    parts = [
        paragraph(_counts(study)),
        paragraph(
            "The score is the validation accuracy of a trial's best epoch. The best of many trials is partly lucky: "
            "confirm it with cross-validation or other seeds before believing it."
        ),
        heading("Best trials"),
        table(*_table(study)),
        heading("History"),
        picture(history_picture(study), "accuracy of each trial"),
    ]
    if complete(study):
        parts += [heading("Each parameter"), picture(parameters_picture(study), "accuracy against each parameter")]
        importance = importances(study)
        if importance:
            parts += [
                heading("Which parameters matter"),
                paragraph("Share of the variation of the score (PED-ANOVA, Watanabe, Bansal, Hutter, IJCAI 2023)."),
                picture(importance_picture(importance), "importance of each parameter"),
            ]
        parts += [heading("The best recipe"), f"<pre>{html.escape(best_recipe(study, recipe))}</pre>"]
    return page(f"Search on {data}, {recipe.network}", parts)


def best_recipe(study: optuna.Study, recipe: Recipe) -> str:
    """The best trial as a recipe file; only comments where no trial was completed."""
    trials = complete(study)
    if not trials:
        return "# no trial was completed\n"
    best = trials[0]
    changes = [
        f"{key}={value!r}" if isinstance(value, float) else f"{key}={value}" for key, value in best.params.items()
    ]
    comment = f"the best of {_counts(study)}: {best.user_attrs['folder']}, validation accuracy {best.value:.4f}"
    values = make_recipe(override(recipe.as_dict(), changes)).as_dict()
    return (
        "\n".join(textwrap.wrap(comment, 118, initial_indent="# ", subsequent_indent="# ")) + "\n" + recipe_toml(values)
    )


def importances(study: optuna.Study) -> dict[str, float]:
    """Parameter -> share 0..1, most important first; empty where too few trials were completed to say."""
    trials = complete(study)
    if len(trials) < 4 or len({trial.value for trial in trials}) < 2:
        return {}
    evaluator = optuna.importance.PedAnovaImportanceEvaluator()
    return {
        key: float(value) for key, value in optuna.importance.get_param_importances(study, evaluator=evaluator).items()
    }


def history_picture(study: optuna.Study) -> bytes:
    """Every trial's accuracy in order, those given up too, and the best so far."""
    figure = Figure(figsize=(8, 4))
    axes = figure.subplots()
    done = study.get_trials(states=(TrialState.COMPLETE,))
    given_up = [trial for trial in study.get_trials(states=(TrialState.PRUNED,)) if trial.intermediate_values]
    if done:
        values = [trial.value or 0.0 for trial in done]
        axes.plot([trial.number for trial in done], values, "o", color=BLUE, label="complete")
        axes.step(
            [t.number for t in done], np.maximum.accumulate(values), where="post", color=ORANGE, label="best so far"
        )
    if given_up:
        best_seen = [max(trial.intermediate_values.values()) for trial in given_up]
        axes.plot([trial.number for trial in given_up], best_seen, "x", color=GREY, label="given up, its best epoch")
    axes.set(xlabel="trial", ylabel="validation accuracy", title=_counts(study))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if done or given_up:
        axes.legend(fontsize=8)
    axes.grid(alpha=0.3)
    return png(figure)


def parameters_picture(study: optuna.Study) -> bytes:
    """One panel a parameter: its value against the accuracy of the completed trials."""
    trials = complete(study)
    names = list(dict.fromkeys(name for trial in trials for name in trial.params))
    columns = min(3, len(names))
    height = -(-len(names) // columns)
    figure = Figure(figsize=(3.6 * columns, 2.9 * height), layout="constrained")
    for axes, name in zip(figure.subplots(height, columns, squeeze=False).flat, names, strict=False):
        having = [trial for trial in trials if name in trial.params]
        distribution = having[0].distributions[name]
        values = [trial.params[name] for trial in having]
        if isinstance(distribution, optuna.distributions.CategoricalDistribution):
            axes.set_xticks(range(len(distribution.choices)), [str(choice) for choice in distribution.choices])
            values = [distribution.choices.index(value) for value in values]
        elif distribution.log:
            axes.set_xscale("log")
        axes.plot(values, [trial.value for trial in having], "o", color=BLUE)
        axes.plot(values[0], having[0].value, "*", markersize=14, color=GREEN)
        axes.set(xlabel=name, ylabel="validation accuracy")
        axes.grid(alpha=0.3)
    for axes in figure.axes[len(names) :]:
        axes.axis("off")
    return png(figure)


def importance_picture(importance: dict[str, float]) -> bytes:
    figure = Figure(figsize=(7, 0.8 + 0.4 * len(importance)))
    axes = figure.subplots()
    names = list(importance)[::-1]
    bars = axes.barh(names, [importance[name] for name in names], color=BLUE)
    axes.bar_label(bars, fmt=" %.2f", fontsize=8)
    axes.set(xlim=(0, 1.1 * max(importance.values())), xlabel="importance")
    return png(figure)


def _table(study: optuna.Study) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    trials = complete(study)[:SHOWN]
    names = list(dict.fromkeys(name for trial in trials for name in trial.params))
    rows = [
        (
            str(trial.user_attrs["folder"]),
            f"{trial.value:.2%}",
            f"{trial.user_attrs['val_macro_f1']:.2%}",
            f"{trial.user_attrs['epochs_run']:.0f}",
            f"{trial.user_attrs['minutes']:.1f}",
            *(_short(trial.params.get(name)) for name in names),
        )
        for trial in trials
    ]
    return ("trial", "accuracy", "macro-F1", "epochs", "minutes", *names), rows


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _counts(study: optuna.Study) -> str:
    trials = study.get_trials(deepcopy=False)
    given_up = sum(trial.state == TrialState.PRUNED for trial in trials)
    diverged = sum("diverged" in trial.user_attrs for trial in trials)
    return f"{len(complete(study))} trials complete, {given_up} given up early, {diverged} diverged"
