"""What is said about one face: id, label, bars per class, how full the window is, which samples mattered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream.show.overlay.palette import DIM, INK, PANEL, TRACK, UNDECIDED, Colour, colour_of, ordered
from stream.show.overlay.text import fill, panel, put_text, text_width

_ROW = 1.85  # height of one bar's row, in capital heights
_WIDTH = 21.0


def shown_scores(face: Mapping[str, Any]) -> Mapping[str, float]:
    """What the bars show: ``smoothed``, what the label is taken from, else ``probs``, else nothing."""
    found: Mapping[str, float] = face.get("smoothed") or face.get("probs") or {}
    return found


def headline(face: Mapping[str, Any]) -> tuple[str, str, Colour]:
    """Label, figure beside it, and colour: ``("happiness", "93 %", ...)``, ``("unsure", "", ...)`` or why not ready."""
    label, confidence = face.get("label"), face.get("confidence")
    if isinstance(label, str):
        figure = f"{confidence:.0%}" if isinstance(confidence, int | float) else ""
        return label, figure, colour_of(label)
    if face.get("ready"):
        return "unsure", "", UNDECIDED
    window = face.get("window") or {}
    need = int(window.get("need") or 0)
    figure = f"{min(int(window.get('n') or 0), need)}/{need}" if need else ""
    return str(face.get("reason") or "waiting"), figure, INK


def panel_size(face: Mapping[str, Any], unit: int) -> tuple[int, int]:
    """Width and height of a face's panel, px, for capitals of `unit` px."""
    rows = len(shown_scores(face))
    relevance = 1.4 if _relevance(face) else 0.0
    return round(_WIDTH * unit), round((5.2 + rows * _ROW + relevance) * unit)


def draw_panel(
    picture: NDArray[np.uint8], face: Mapping[str, Any], place: tuple[float, float, float, float], unit: int
) -> None:
    """Draw a face's panel.

    Args:
        picture: ``(H, W, 3)`` uint8 RGB, changed in place.
        face: One entry of ``faces``.
        place: x, y, width, height of the panel, px.
        unit: Height of a capital letter, px.
    """
    x, y, width, height = place
    panel(picture, x, y, width, height, unit * 0.7, PANEL, 0.74)
    pad = unit * 0.8
    title, figure, colour = headline(face)
    base = y + unit * 2.0
    put_text(picture, title, (x + pad, base), round(unit * 1.15), colour, bold=True)
    put_text(picture, figure, (x + width - pad, base), round(unit * 1.15), colour, bold=True, align="right")
    fill(picture, x + pad, y + unit * 2.65, width - 2 * pad, max(unit * 0.22, 1), TRACK)
    fill(picture, x + pad, y + unit * 2.65, (width - 2 * pad) * _progress(face), max(unit * 0.22, 1), colour)

    held = face.get("label")
    scores = shown_scores(face)
    row_y = y + unit * 3.5
    bar_x, bar_width = x + unit * 9.4, width - unit * 9.4 - unit * 3.6
    for name in ordered(scores):
        value = min(max(float(scores[name]), 0.0), 1.0)
        middle = row_y + unit * _ROW / 2
        ink = INK if name == held else DIM
        put_text(picture, _short(name), (x + pad, middle + unit * 0.42), round(unit * 0.9), ink, bold=name == held)
        fill(picture, bar_x, middle - unit * 0.42, bar_width, unit * 0.84, TRACK, 0.8)
        fill(picture, bar_x, middle - unit * 0.42, bar_width * value, unit * 0.84, colour_of(name))
        figure_at = (x + width - pad, middle + unit * 0.42)
        put_text(picture, f"{value * 100:.0f}", figure_at, round(unit * 0.9), ink, align="right")
        row_y += unit * _ROW
    relevance = _relevance(face)
    if relevance:
        _draw_relevance(picture, relevance, x + pad, row_y + unit * 0.35, width - 2 * pad, unit * 0.75)
    name_tag = f"face {face.get('id', '?')}" + (", primary" if face.get("primary") else "")
    if face.get("state") not in ("tracked", None):
        name_tag += f", {face['state']}"
    put_text(picture, name_tag, (x + pad, y + height - unit * 0.55), max(round(unit * 0.75), 5), DIM)


def compact_tag(
    picture: NDArray[np.uint8], face: Mapping[str, Any], box: tuple[float, float, float, float], unit: int, top: float
) -> None:
    """A line above (or, at the upper edge, inside) a box for which there is no room or no need of bars.

    Args:
        picture: ``(H, W, 3)`` uint8 RGB, changed in place.
        face: One entry of ``faces``.
        box: The face's box, px.
        unit: Height of a capital letter, px.
        top: What is above this row is taken, px.
    """
    if box[2] <= 0 or box[3] <= 0:
        return
    title, figure, colour = headline(face)
    text = f"{title} {figure}".strip()
    width = text_width(text, unit, bold=True) + unit * 1.2
    height = unit * 2.0
    x = min(max(box[0], 0.0), max(picture.shape[1] - width, 0.0))
    y = box[1] - height if box[1] - height >= top else max(box[1], top)
    panel(picture, x, y, width, height, unit * 0.5, PANEL, 0.78)
    put_text(picture, text, (x + unit * 0.6, y + unit * 1.5), unit, colour, bold=True)
    fill(picture, x, y + height - max(unit * 0.25, 1), width * _progress(face), max(unit * 0.25, 1), colour)


def _progress(face: Mapping[str, Any]) -> float:
    """The thin line under the label: confidence, or how full the window is."""
    confidence = face.get("confidence")
    if face.get("ready"):
        return min(max(float(confidence), 0.0), 1.0) if isinstance(confidence, int | float) else 0.0
    window = face.get("window") or {}
    need = float(window.get("need") or 0)
    return min(max(float(window.get("n") or 0) / need, 0.0), 1.0) if need else 0.0


def _relevance(face: Mapping[str, Any]) -> Sequence[float]:
    found: Sequence[float] = face.get("relevance") or ()
    return found


def _draw_relevance(
    picture: NDArray[np.uint8], relevance: Sequence[float], x: float, y: float, width: float, height: float
) -> None:
    """One cell per sample, oldest on the left; the brighter, the more it drove the score."""
    most = max(max(relevance), 1e-9)
    step = width / len(relevance)
    for k, value in enumerate(relevance):
        share = min(max(value / most, 0.0), 1.0)
        cell = tuple(round(t + share * (i - t)) for t, i in zip(TRACK, INK, strict=True))
        fill(picture, x + k * step, y, max(step - 1, 1), height, (cell[0], cell[1], cell[2]))


def _short(name: str) -> str:
    return name if len(name) <= 10 else name[:9] + "."
