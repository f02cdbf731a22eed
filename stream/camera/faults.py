"""What is wrong with a frame that was decoded all the same: damage, or nothing to be seen. Pure.

A decoder says of most damage that it is there. Where it does not (a truncated JPEG whose rest is filled up), the
picture shows it: its lower rows are all alike, and those of the frame before were not. A frame of one colour shows
nothing.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stream.camera.pixels import Image, as_pixels

FAULTS = ("", "damaged", "blank")
"""What a frame may suffer from; nothing, first."""

_ROWS, _COLUMNS = 40, 48
"""How many are looked at."""
_BLANK_LEVELS = 2
"""Levels between the darkest and the lightest pixel of a frame that shows nothing."""
_FILLED = 0.15
"""Share of a frame's rows, from below, that are filled up where a JPEG broke off."""


class FrameJudge:
    """Judges the frames of one source, one after the other."""

    def __init__(self) -> None:
        self._usual_fill: float | None = None

    def step(self, image: Image, damaged: bool) -> str:
        """Judge RGB or planes; ``damaged`` is what the decoder says. Gives one of :data:`FAULTS`."""
        pixels = as_pixels(image)
        height, width, _ = pixels.shape
        rows, columns = max(1, height // _ROWS), max(1, width // _COLUMNS)
        last = (height - 1) // rows * rows
        # One row with something in it, of nearly every frame the last, settles both questions.
        fill = 0.0
        if _even(pixels.grey(0, last, width, last + 1)[:, ::columns, None])[0]:
            small = pixels.rgb()[::rows, ::columns]
            drawn = np.flatnonzero(~_even(small))
            if not drawn.size and _even(small.reshape(1, -1, 3))[0]:
                return "blank"
            fill = float(len(small) - 1 - drawn[-1]) / len(small) if drawn.size else 1.0
        usual, self._usual_fill = self._usual_fill, fill
        # A black bar below is there in every frame: only its coming is damage, and only for the frame it comes with.
        if damaged or (usual is not None and fill > _FILLED and fill > 2 * usual + 0.05):
            self._usual_fill = usual if usual is not None else 0.0
            return "damaged"
        return ""


def _even(rows: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Which of ``(R, C, 3)`` uint8 rows are of one colour from side to side."""
    levels = rows.max(axis=1) - rows.min(axis=1)
    return np.asarray((levels <= _BLANK_LEVELS).all(axis=1), np.bool_)
