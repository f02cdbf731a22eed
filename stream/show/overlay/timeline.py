"""A run as one picture: stacked probabilities over time, the label below, and where not to believe them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.files import write_bytes
from stream.show.overlay import OverlayError
from stream.show.overlay.palette import BAD, DIM, INK, PANEL, TRACK, colour_of, ordered
from stream.show.overlay.text import fill, put_text, text_width

Image = NDArray[np.uint8]


@dataclass
class Curve:
    """One face over time.

    Attributes:
        t_s: Times, s since the first message.
        scores: What the bars showed at each time; empty before there are scores.
        labels: The held class or None.
        ready: Whether the window was full and fresh.
    """

    t_s: list[float] = field(default_factory=list)
    scores: list[Mapping[str, float]] = field(default_factory=list)
    labels: list[str | None] = field(default_factory=list)
    ready: list[bool] = field(default_factory=list)


@dataclass
class RunSeries:
    """What a run's messages say, ready to be drawn.

    Attributes:
        t_s: Times of all messages, s since the first.
        valid: Whether each was of a fresh live frame.
        faces: Face id to its curve.
        primary: The face that was primary, or else seen, in most messages; None if there was none.
    """

    t_s: list[float]
    valid: list[bool]
    faces: dict[str, Curve]
    primary: str | None

    @classmethod
    def of(cls, messages: Iterable[Mapping[str, Any]]) -> RunSeries:
        """Collect messages, in the order they were published.

        Args:
            messages: Decoded ``faces/`` bodies. The time axis is that of capture, where there is none of publishing.
        """
        series = cls([], [], {}, None)
        seen: Counter[str] = Counter()
        start_ns: int | None = None
        offset_ns = 0
        for message in messages:
            published, captured = message.get("t_publish_ns"), message.get("t_capture_ns")
            if captured is not None and published is not None:
                offset_ns = captured - published
            t_ns = captured if captured is not None else (published or 0) + offset_ns
            start_ns = t_ns if start_ns is None else start_ns
            t_s = max((t_ns - start_ns) / 1e9, series.t_s[-1] if series.t_s else 0.0)
            series.t_s.append(t_s)
            series.valid.append(bool(message.get("valid", True)))
            for face in message.get("faces") or ():
                if face.get("state") == "lost":
                    continue
                name = str(face.get("id", "?"))
                seen[name] += 1000 if face.get("primary") else 1
                curve = series.faces.setdefault(name, Curve())
                curve.t_s.append(t_s)
                curve.scores.append(face.get("smoothed") or face.get("probs") or {})
                curve.labels.append(face.get("label"))
                curve.ready.append(bool(face.get("ready")))
        series.primary = seen.most_common(1)[0][0] if seen else None
        return series


def timeline(
    messages: Iterable[Mapping[str, Any]], face: str | None = None, size: tuple[int, int] = (1200, 360)
) -> Image:
    """Draw one face of a run.

    Scores are held from message to message, as they are published; where the face was not seen, or had no scores
    yet, the band stays empty. Classes are stacked in the overlay's fixed order, the first at the bottom.

    Args:
        messages: Decoded ``faces/`` bodies in the order of publishing.
        face: A face's id; by default the one that was primary for longest.
        size: Width and height, px, at least 320×160.

    Returns:
        ``(H, W, 3)`` uint8 RGB.

    Raises:
        OverlayError: If the picture is too small, or the run has no such face.
    """
    width, height = size
    if width < 320 or height < 160:
        raise OverlayError(f"a timeline of {width}×{height} px is too small", "give at least 320×160")
    series = RunSeries.of(messages)
    if face is not None and face not in series.faces:
        known = ", ".join(series.faces) or "none at all"
        raise OverlayError(f"the run has no face {face!r}", f"it has {known}")
    name = face if face is not None else series.primary
    curve = series.faces[name] if name is not None else Curve()
    labels = ordered({label for scores in curve.scores for label in scores})

    picture = np.empty((height, width, 3), np.uint8)
    picture[:] = PANEL
    unit = max(round(min(height / 36, width / 90)), 6)
    left, right = unit * 5, width - unit * 15
    top, bottom = unit * 3, height - unit * 8
    span = series.t_s[-1] if series.t_s and series.t_s[-1] > 0 else 1.0
    columns = (np.arange(right - left) + 0.5) / (right - left) * span

    fill(picture, left, top, right - left, bottom - top, TRACK, 0.35)
    fill(picture, left, bottom + unit, right - left, unit * 2, TRACK, 0.35)
    held = _held(curve, columns, series)
    _draw_bands(picture[top:bottom, left:right], curve, labels, held)
    _draw_ribbon(picture[bottom + unit : bottom + unit * 3, left:right], curve, held)
    below = bottom + unit * 3
    _draw_validity(picture[top:below, left:right], picture[below + 2 : below + 6, left:right], series, columns)
    _draw_axes(picture, span, left, right, top, bottom, unit)
    title = "no face" if name is None else f"face {name}"
    put_text(picture, title, (left, top - unit), unit, INK, bold=True)
    for k, label in enumerate(reversed(labels)):
        y = top + unit * 2 * (k + 0.9)
        if y > height - unit:
            break
        fill(picture, right + unit, y - unit, unit, unit, colour_of(label))
        put_text(picture, label, (right + unit * 2.8, y), unit, INK)
    return picture


def save_png(picture: Image, path: Path) -> None:
    """Write a picture; the file appears whole or not at all.

    Args:
        picture: ``(H, W, 3)`` uint8 RGB.
        path: Where to, ending in ``.png``.

    Raises:
        OverlayError: If its name does not end so.
        DferError: If it cannot be written.
    """
    if path.suffix.lower() != ".png":
        raise OverlayError(f"{path}: the picture's name must end in .png")
    if not path.absolute().parent.is_dir():
        raise OverlayError(f"{path}: cannot be written: the folder does not exist", "make it, or name another file")
    ok, data = cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    assert ok, "PNG encoding of an 8-bit picture cannot fail"
    write_bytes(path, data.tobytes())


def _held(curve: Curve, columns: NDArray[np.float64], series: RunSeries) -> NDArray[np.intp]:
    """For each column the curve's entry that held then, -1 where the face was not seen."""
    if not curve.t_s:
        return np.full(len(columns), -1, np.intp)
    times = np.asarray(curve.t_s)
    index = np.searchsorted(times, columns, side="right") - 1
    # The message that held at a column must be one that had this face.
    message = np.searchsorted(np.asarray(series.t_s), columns, side="right") - 1
    seen = times[np.clip(index, 0, None)] >= np.asarray(series.t_s)[np.clip(message, 0, None)] - 1e-9
    return np.where((index >= 0) & seen, index, -1)


def _draw_bands(plot: Image, curve: Curve, labels: list[str], held: NDArray[np.intp]) -> None:
    """The scores held at each column of the plot, stacked."""
    if not labels:
        return
    rows = np.arange(len(plot))[::-1] + 0.5  # from the bottom up
    colours = np.array([colour_of(label) for label in labels], np.uint8)
    table = np.array([[float(scores.get(label, 0.0)) for label in labels] for scores in curve.scores])
    for x, k in enumerate(held):
        if k < 0 or not table[k].sum() > 0:
            continue
        edges = np.cumsum(table[k]) / table[k].sum() * len(rows)
        column = colours[np.minimum(np.searchsorted(edges, rows, side="right"), len(labels) - 1)]
        if not curve.ready[k]:
            # Not ready: the same colours, washed out and striped.
            stripe = ((np.arange(len(rows)) + x) // 4 % 2 == 0)[:, None]
            column = np.where(stripe, column // 2 + np.array(PANEL, np.uint8) // 2, column // 3)
        plot[:, x] = column


def _draw_ribbon(ribbon: Image, curve: Curve, held: NDArray[np.intp]) -> None:
    """The label held at each moment; unsure is grey, not ready is empty."""
    for x, k in enumerate(held):
        if k >= 0 and curve.ready[k]:
            label = curve.labels[k]
            ribbon[:, x] = TRACK if label is None else colour_of(label)


def _draw_validity(plot: Image, line: Image, series: RunSeries, columns: NDArray[np.float64]) -> None:
    """Moments without a fresh live frame: the plot darkened, a red line below."""
    if not series.t_s:
        return
    valid = np.asarray(series.valid)[np.clip(np.searchsorted(series.t_s, columns, side="right") - 1, 0, None)]
    plot[:, ~valid] //= 2
    line[:, ~valid] = BAD


def _draw_axes(picture: Image, span: float, left: int, right: int, top: int, bottom: int, unit: int) -> None:
    for share in (0.0, 0.5, 1.0):
        y = bottom - share * (bottom - top)
        put_text(picture, f"{share:g}", (left - unit * 0.8, y + unit / 2), unit, DIM, align="right")
        fill(picture, left, y, right - left, 1, INK, 0.25)
    label_room = text_width("000", unit) * 1.5
    most = max(int((right - left) / label_room), 1)
    step = next((s for s in (0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600) if span / s <= most), 7200.0)
    for k in range(int(span / step) + 1):
        x = left + k * step / span * (right - left)
        fill(picture, x, bottom, 1, unit * 0.6, DIM)
        put_text(picture, f"{k * step:g}", (x, bottom + unit * 5.4), unit, DIM, align="centre")
    put_text(picture, "s", (right + unit, bottom + unit * 5.4), unit, DIM)
