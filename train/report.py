"""One self-contained HTML page: pictures inside, no script, nothing fetched, works offline and in print.

The page of ``train evaluate``; its parts serve cross-validation and search too.
"""

import base64
import html
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from train import metrics, pictures
from train.scorecard import COVERAGES, Scorecard

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; background: #fff; max-width: 1000px; margin: 2em auto;
  padding: 0 1em }
h1 { font-size: 1.5em } h2 { font-size: 1.15em; margin-top: 2em; border-bottom: 1px solid #ddd }
table { border-collapse: collapse; margin: .8em 0 } th, td { padding: .25em .8em; border-bottom: 1px solid #e5e5e5 }
th { text-align: left; font-weight: 600 } td { text-align: right; font-variant-numeric: tabular-nums }
td:first-child { text-align: left } img { max-width: 100%; height: auto } .note { color: #555 }
"""


def page(title: str, parts: Sequence[str]) -> str:
    """A whole document, ASCII so that no locale can spoil it. title: plain text; parts: made by the functions below."""
    text = (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f"<style>{_STYLE}</style></head>\n<body><h1>{html.escape(title)}</h1>\n"
        + "\n".join(parts)
        + "\n</body></html>\n"
    )
    return text.encode("ascii", "xmlcharrefreplace").decode()


def heading(text: str) -> str:
    return f"<h2>{html.escape(text)}</h2>"


def paragraph(text: str) -> str:
    return f'<p class="note">{html.escape(text)}</p>'


def picture(png: bytes, alt: str) -> str:
    """An image whose bytes are in the page."""
    return f'<p><img alt="{html.escape(alt)}" src="data:image/png;base64,{base64.b64encode(png).decode()}"></p>'


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of plain texts; the first column is aligned left, the others right."""
    top = "".join(f"<th>{html.escape(each)}</th>" for each in head)
    body = "\n".join("<tr>" + "".join(f"<td>{html.escape(each)}</td>" for each in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{top}</tr></thead>\n<tbody>{body}</tbody></table>"


def evaluation_parts(
    facts: Sequence[tuple[str, str]],
    card: Scorecard,
    images: NDArray[np.uint8],
    origins: tuple[str, ...],
    calibration_note: str,
) -> list[str]:
    """The parts of the report of one evaluation.

    facts: what was evaluated on what, in words. images: (N, H, W) uint8 grey, row for row the card's.
    calibration_note: where temperature and smoothing come from.
    """
    return [
        table(("", ""), [*facts, *_headline(card)]),
        heading("Each class"),
        picture(pictures.class_bars(card), "precision, recall and F1 of each class"),
        _class_table(card),
        heading("Confusion"),
        picture(pictures.confusion_heatmap(card), "confusion matrix"),
        picture(pictures.confused_pairs(card), "most confused pairs"),
        heading("Calibration"),
        paragraph(calibration_note),
        picture(pictures.reliability_diagram(card), "reliability diagram of each stage of the calibration"),
        table(
            ("probabilities", "expected calibration error (15 bins)", "negative log-likelihood, nats"),
            [(stage.what, f"{stage.ece:.4f}", f"{stage.nll:.4f}") for stage in card.stages.values()],
        ),
        heading("Answering only when sure"),
        picture(pictures.coverage_curve(card), "accuracy against coverage"),
        heading("The worst mistakes"),
        paragraph("The most confident wrong answers. Many are pictures whose label people would dispute too."),
        picture(pictures.mistakes_sheet(card, images, origins), "pictures with truth, prediction and confidence"),
    ]


def _headline(card: Scorecard) -> list[tuple[str, str]]:
    scores = card.per_class
    rows = [
        ("accuracy", f"{card.accuracy:.2%} of {len(card.labels)} rows"),
        ("macro-F1", f"{card.macro_f1:.2%}"),
        ("weighted F1", f"{metrics.weighted(scores.f1, scores.support):.2%}"),
        ("balanced accuracy (macro recall)", f"{metrics.macro(scores.recall):.2%}"),
    ]
    for share in COVERAGES:
        right, threshold = card.coverage.at(share)
        rows.append((f"accuracy of the surest {share:.0%}", f"{right:.2%}, confidence from {threshold:.3f}"))
    if card.ferplus is not None:
        rows.append(("FER+ agreement", f"{card.ferplus[0]:.2%} of {card.ferplus[1]} rows with a majority"))
    if card.flip_averaged is not None:
        rows.append(("flip-averaged accuracy (two passes)", f"{card.flip_averaged:.2%}"))
    return rows


def _class_table(card: Scorecard) -> str:
    scores = card.per_class
    columns = (scores.precision, scores.recall, scores.f1, scores.specificity)
    rows = [
        (name, *(f"{values[index]:.1%}" for values in columns), str(scores.support[index]))
        for index, name in enumerate(card.classes)
    ]
    total = str(len(card.labels))
    rows.append(("macro", *(f"{metrics.macro(values):.1%}" for values in columns), total))
    rows.append(("weighted", *(f"{metrics.weighted(values, scores.support):.1%}" for values in columns), total))
    return table(("class", "precision", "recall", "F1", "specificity", "rows"), rows)
