"""A video of one rate and one size from pictures that have neither."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]


def paced(pictures: Iterable[tuple[int, Image]], fps: float) -> Iterator[Image]:
    """Repeat and leave out pictures so that each is shown at its own time, half a period either way.

    Args:
        pictures: Time from the first, ns, rising, and ``(H, W, 3)`` uint8. Later sizes are fitted into the first.
        fps: Pictures per second of what comes out.
    """
    held: Image | None = None
    shown = 0
    for t_ns, picture in pictures:
        due = round(t_ns * fps / 1e9)
        while held is not None and shown < due:
            yield held
            shown += 1
        held = picture if held is None else fitted(picture, held.shape[0], held.shape[1])
    if held is not None:
        yield held


def fitted(picture: Image, height: int, width: int) -> Image:
    """A picture within another size, its shape kept, black around it."""
    if picture.shape[:2] == (height, width):
        return picture
    scale = min(height / picture.shape[0], width / picture.shape[1])
    inner = max(1, round(picture.shape[0] * scale)), max(1, round(picture.shape[1] * scale))
    top, left = (height - inner[0]) // 2, (width - inner[1]) // 2
    whole = np.zeros((height, width, 3), np.uint8)
    whole[top : top + inner[0], left : left + inner[1]] = cv2.resize(picture, inner[::-1])
    return whole
