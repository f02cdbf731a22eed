"""One self-contained HTML page of an evaluation: no script, no link to anything outside the file."""

from __future__ import annotations

import base64
import html
import math
from collections.abc import Mapping, Sequence
from typing import Any

from calibration.metrics import Interval, Scores
from train.data.dataset import ClipDataset, pack
from train.evaluation import figures
from train.evaluation.evaluate import Evaluation, FoldSummary

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;color:#1b2a38;
max-width:1080px;margin:2rem auto;padding:0 1.2rem;background:#fff}
h1{font-size:1.5rem;margin-bottom:.2rem}h2{font-size:1.1rem;margin:2.2rem 0 .6rem;border-bottom:1px solid #dde3e8}
.big{display:flex;gap:1rem;flex-wrap:wrap}.big div{border:1px solid #dde3e8;border-radius:8px;padding:.6rem 1rem}
.big b{font-size:1.6rem;display:block}.small{color:#5b6b78;font-size:.86rem}
table{border-collapse:collapse;margin:.4rem 0}
th,td{padding:.25rem .8rem;text-align:right;border-bottom:1px solid #e6ebef}
th:first-child,td:first-child,.facts td{text-align:left}th{font-weight:600}img{max-width:100%;height:auto}
.note{background:#fff6e5;border-left:4px solid #d99a1c;padding:.5rem .9rem;margin:.8rem 0}figure{margin:.8rem 0}
"""


def percent(value: float) -> str:
    """A share as per cent with two decimals, a dash where it is undefined."""
    return "–" if math.isnan(value) else f"{100 * value:.2f}"


def html_report(
    result: Evaluation,
    title: str,
    facts: Mapping[str, str],
    dataset: ClipDataset | None = None,
    folds: FoldSummary | None = None,
    notes: Sequence[str] = (),
    strips: int = 8,
    runs: Sequence[tuple[str, Scores]] = (),
) -> str:
    """Write the page.

    Args:
        result: The evaluation.
        title: Headline.
        facts: What was evaluated: model, data, weights.
        dataset: Where strips take their frames from; no strips without it.
        folds: Figures over folds, where there are several.
        notes: Sentences the reader must not miss.
        strips: Most strips shown.
        runs: Name and scores of each fold's run, where there are several; `result` is the first's.

    Returns:
        The whole file's text.
    """
    found = result.predictions
    parts = [
        f"<h1>{html.escape(title)}</h1>",
        _table([(name, value) for name, value in facts.items()]).replace("<table>", '<table class="facts">', 1),
        *(f'<p class="note">{html.escape(note)}</p>' for note in notes),
    ]
    if result.scores.absent:
        parts.append(
            f'<p class="note">Absent from this test part and left out of UAR: {", ".join(result.scores.absent)}.</p>'
        )
    parts.append(f'<div class="big">{_card("UAR", result.uar)}{_card("WAR", result.war)}{_localised(result)}</div>')
    known = any(found.groups)
    grouped = "whole groups (faces, films) are resampled" if known else "clips are resampled; groups are unknown"
    parts.append(f'<p class="small">n = {len(found.target)} clips. 95 % bootstrap intervals; {grouped}.</p>')
    if folds is not None:
        parts += [
            "<h2>Folds</h2>",
            f"<p>{html.escape(folds.text())}</p>",
            _rows(("run", "UAR", "WAR"), runs),
            '<p class="small">All folds\' clips together:</p>',
            _per_class(folds.pooled),
            _image(figures.confusion_figure(folds.pooled), "confusion matrix, all folds"),
            *(f'<p class="note">All else on this page is of {html.escape(name)} alone.</p>' for name, _ in runs[:1]),
        ]
    parts += ["<h2>Per class</h2>", _per_class(result.scores)]
    parts += ["<h2>Confusion matrix</h2>", _image(figures.confusion_figure(result.scores), "confusion matrix")]
    if result.influence:
        parts += [
            "<h2>Influence of samples</h2>",
            '<p class="small">Recognition from the k samples of highest or lowest influence alone.</p>',
            _rows(("samples", "UAR", "WAR"), [(f"{side} {k}", s) for (side, k), s in result.influence.items()]),
            _image(figures.influence_figure(result), "influence"),
        ]
    if result.audit:
        parts += [
            "<h2>Temporal audit</h2>",
            '<p class="small">The same clips with their samples shuffled, reversed, or all replaced by the '
            "most relevant one. A model that uses time loses by it; one that loses nothing looks at single frames.</p>",
            _rows(("clips", "UAR", "WAR"), [("as they are", result.scores), *result.audit.items()]),
        ]
    if dataset is not None:
        shown = []
        for index in figures.strip_clips(result, strips):
            frames = list(dataset[pack(0, index)].inputs.numpy())
            shown.append(_image(figures.strip_of(result, index, frames), found.names[index]))
        if shown:
            marked = " Green: frames that show the expression." if result.localisation is not None else ""
            parts.append("<h2>Which samples drove the score</h2>")
            parts += [f'<p class="small">Surest right and wrong clips.{marked}</p>', *shown]
    if len(found.target) >= 5:
        parts += ["<h2>t-SNE</h2>", _image(figures.tsne_figure(found.features, found.target, found.labels), "t-SNE")]
    body = "\n".join(parts)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f"<style>{_STYLE}</style></head><body>\n{body}\n</body></html>\n"
    )


def _card(name: str, interval: Interval) -> str:
    return (
        f"<div>{name}<b>{percent(interval.value)}</b>"
        f'<span class="small">{percent(interval.low)} to {percent(interval.high)}</span></div>'
    )


def _localised(result: Evaluation) -> str:
    found = result.localisation
    if found is None:
        return ""
    interval = found.auroc
    return (
        f"<div>Localisation AUROC<b>{interval.value:.3f}</b>"
        f'<span class="small">{interval.low:.3f} to {interval.high:.3f}, {found.clips} clips</span></div>'
    )


def _per_class(result: Scores) -> str:
    rows: list[tuple[Any, ...]] = []
    for number, label in enumerate(result.labels):
        support = int(result.confusion[number].sum())
        rows.append((label, support, percent(result.recall[number]), percent(result.precision[number])))
    return _table(rows, ("class", "clips", "recall", "precision"))


def _rows(head: Sequence[str], rows: Sequence[tuple[str, Scores]]) -> str:
    return _table([(name, percent(s.uar), percent(s.war)) for name, s in rows], head)


def _table(rows: Sequence[tuple[Any, ...]], head: Sequence[str] = ()) -> str:
    top = "<tr>" + "".join(f"<th>{html.escape(str(h))}</th>" for h in head) + "</tr>" if head else ""
    body = "".join("<tr>" + "".join(f"<td>{html.escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table>{top}{body}</table>"


def _image(png: bytes, alt: str) -> str:
    data = base64.b64encode(png).decode()
    return f'<figure><img alt="{html.escape(alt)}" src="data:image/png;base64,{data}"></figure>'
