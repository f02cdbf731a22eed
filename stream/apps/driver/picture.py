"""A run of the policy as one picture: the state on top, each finding's level below, then the figures judged."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stream.publish.driver import FINDINGS, DriverState
from stream.show.overlay.palette import BAD, DIM, INK, PANEL, TRACK, WARN, Colour
from stream.show.overlay.text import fill, put_text
from stream.show.overlay.timeline import save_png

_COLOURS: dict[str, Colour] = {
    "fine": (0, 158, 115),
    "learning": (46, 134, 214),
    "unknown": (96, 102, 114),
    "none": TRACK,
    "notice": (240, 228, 66),
    "warning": WARN,
    "alarm": BAD,
}
_UNSEEN: Colour = (34, 38, 46)
_WIDTH, _LEFT, _RIGHT, _ROW, _UNIT = 1200, 150, 20, 22, 10
_STEPS_S = (1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600)

Image = NDArray[np.uint8]


def draw(states: Sequence[DriverState]) -> Image:
    """Draw what was published.

    Args:
        states: In order; at least one.

    Returns:
        ``(H, 1200, 3)`` uint8 RGB. Grey is unknown; a finding that could not be judged is dark.
    """
    start_ns, end_ns = states[0].t_publish_ns, max(states[-1].t_publish_ns, states[0].t_publish_ns + 1)
    times = np.array([state.t_publish_ns for state in states])
    columns = start_ns + (np.arange(_WIDTH - _LEFT - _RIGHT) + 0.5) / (_WIDTH - _LEFT - _RIGHT) * (end_ns - start_ns)
    held = [states[k] for k in np.clip(np.searchsorted(times, columns, side="right") - 1, 0, None)]
    height = _ROW * (len(FINDINGS) + 7)
    picture = np.empty((height, _WIDTH, 3), np.uint8)
    picture[:] = PANEL
    _row(picture, 1, "state", held, lambda state: _COLOURS[state.state], bold=True)
    for k, name in enumerate(FINDINGS):
        _row(picture, k + 2.5, name.replace("_", " "), held, _level_of(name))
    _axis(picture, (end_ns - start_ns) / 1e9, round(_ROW * (len(FINDINGS) + 2.9)))
    _legend(picture, height - round(_ROW * 2.4))
    reasons = list(dict.fromkeys(state.reason for state in states if state.reason not in ("ok", "learning")))
    if reasons:
        text = "not fine because: " + ", ".join(reason.replace("_", " ") for reason in reasons)
        put_text(picture, text, (_LEFT, height - _ROW * 0.8), _UNIT, DIM)
    return picture


def save(states: Sequence[DriverState], path: Path) -> None:
    """Draw and write a PNG.

    Raises:
        DferError: If it cannot be written.
    """
    save_png(draw(states), path)


def _level_of(name: str) -> Callable[[DriverState], Colour]:
    def colour(state: DriverState) -> Colour:
        finding = state.findings[name]
        return _COLOURS[finding.level] if finding.known or finding.level != "none" else _UNSEEN

    return colour


def _row(
    picture: Image,
    number: float,
    name: str,
    held: Sequence[DriverState],
    colour: Callable[[DriverState], Colour],
    bold: bool = False,
) -> None:
    top = round(number * _ROW)
    put_text(picture, name, (_LEFT - 12, top + _ROW * 0.7), _UNIT, INK if bold else DIM, bold=bold, align="right")
    picture[top : top + _ROW - 4, _LEFT : _WIDTH - _RIGHT] = np.array([colour(state) for state in held], np.uint8)


def _axis(picture: Image, span_s: float, top: int) -> None:
    across = _WIDTH - _LEFT - _RIGHT
    step = next((s for s in _STEPS_S if span_s / s <= 16), _STEPS_S[-1])
    for k in range(int(span_s / step) + 1):
        x = _LEFT + k * step / span_s * across
        fill(picture, x, top, 1, 5, DIM)
        put_text(picture, f"{k * step}", (x, top + 20), _UNIT, DIM, align="centre")
    put_text(picture, "s", (_WIDTH - _RIGHT, top + 20), _UNIT, DIM, align="right")


def _legend(picture: Image, top: int) -> None:
    x = float(_LEFT)
    for name in ("fine", "learning", "unknown", "notice", "warning", "alarm"):
        fill(picture, x, top, 14, 12, _COLOURS[name])
        x += 20 + put_text(picture, name, (x + 20, top + 11), _UNIT, INK) + 24
