"""Smooth text and flat shapes on RGB frames, at any scale.

OpenCV's line fonts are ragged at the size of a caption: here they are drawn four times as large and averaged down,
and kept, because most captions stay the same from frame to frame.
"""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from stream.show.overlay.palette import Colour

_OVERSAMPLE = 4
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_CAP_PX = 21.0  # height of a capital of this font at scale 1

Image = NDArray[np.uint8]


@lru_cache(maxsize=2048)
def _mask(text: str, height_px: int, bold: bool) -> tuple[NDArray[np.float32], int]:
    """Coverage in [0, 1] of a text whose capitals are `height_px` high, and the rows above the base line."""
    scale = height_px * _OVERSAMPLE / _CAP_PX
    stroke = max(int(round(height_px * _OVERSAMPLE * (0.17 if bold else 0.115))), 1)
    (width, height), below = cv2.getTextSize(text, _FONT, scale, stroke)
    pad = stroke + _OVERSAMPLE
    rows = height + below + 2 * pad
    columns = width + 2 * pad
    rows += -rows % _OVERSAMPLE
    columns += -columns % _OVERSAMPLE
    large = np.zeros((rows, columns), np.uint8)
    cv2.putText(large, text, (pad, pad + height), _FONT, scale, 255, stroke, cv2.LINE_AA)
    small = cv2.resize(large, (columns // _OVERSAMPLE, rows // _OVERSAMPLE), interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.float32) / np.float32(255), (pad + height) // _OVERSAMPLE


def text_width(text: str, height_px: int, bold: bool = False) -> int:
    """Width of a text, px."""
    return int(_mask(_plain(text), max(height_px, 4), bold)[0].shape[1]) if text else 0


def put_text(
    image: Image,
    text: str,
    xy: tuple[float, float],
    height_px: int,
    colour: Colour,
    bold: bool = False,
    align: str = "left",
) -> int:
    """Draw one line; what lies outside the picture is cut off.

    Args:
        image: ``(H, W, 3)`` uint8 RGB, changed in place.
        text: The line; characters the font lacks become ``?``.
        xy: Left, middle or right end (see `align`) of the base line, px.
        height_px: Height of a capital letter, at least 4.
        colour: RGB.
        bold: Thicker strokes.
        align: ``left``, ``centre`` or ``right``.

    Returns:
        The width drawn, px.
    """
    if not text:
        return 0
    mask, base = _mask(_plain(text), max(height_px, 4), bold)
    offset = {"left": 0.0, "centre": mask.shape[1] / 2, "right": float(mask.shape[1])}[align]
    x, y = int(round(xy[0] - offset)), int(round(xy[1])) - base
    _composite(image, mask, x, y, colour)
    return int(mask.shape[1])


def fill(image: Image, x: float, y: float, width: float, height: float, colour: Colour, alpha: float = 1.0) -> None:
    """Fill a rectangle, px; `alpha` 0 leaves the picture as it is, 1 covers it."""
    left, top = max(int(round(x)), 0), max(int(round(y)), 0)
    right, bottom = min(int(round(x + width)), image.shape[1]), min(int(round(y + height)), image.shape[0])
    if right <= left or bottom <= top or alpha <= 0:
        return
    if alpha >= 1:
        image[top:bottom, left:right] = colour
        return
    part = image[top:bottom, left:right].astype(np.float32)
    image[top:bottom, left:right] = np.rint(part + alpha * (np.array(colour, np.float32) - part)).astype(np.uint8)


def panel(
    image: Image, x: float, y: float, width: float, height: float, radius: float, colour: Colour, alpha: float
) -> None:
    """Fill a rectangle with round corners, px."""
    columns, rows = max(int(round(width)), 1), max(int(round(height)), 1)
    mask = _rounded_mask(columns, rows, max(int(round(radius)), 0))
    _composite(image, mask * np.float32(alpha), round(x), round(y), colour)


@lru_cache(maxsize=256)
def _rounded_mask(columns: int, rows: int, radius: int) -> NDArray[np.float32]:
    radius = min(radius, columns // 2, rows // 2)
    large = np.zeros((rows * 2, columns * 2), np.uint8)
    r = radius * 2
    cv2.rectangle(large, (r, 0), (columns * 2 - r - 1, rows * 2), 255, -1)
    cv2.rectangle(large, (0, r), (columns * 2, rows * 2 - r - 1), 255, -1)
    for cx in (r, columns * 2 - r - 1):
        for cy in (r, rows * 2 - r - 1):
            cv2.circle(large, (cx, cy), r, 255, -1, cv2.LINE_AA)
    small = cv2.resize(large, (columns, rows), interpolation=cv2.INTER_AREA)
    return np.asarray(small.astype(np.float32) / 255)


def _composite(image: Image, mask: NDArray[np.float32], x: int, y: int, colour: Colour) -> None:
    rows, columns = mask.shape
    left, top = max(x, 0), max(y, 0)
    right, bottom = min(x + columns, image.shape[1]), min(y + rows, image.shape[0])
    if right <= left or bottom <= top:
        return
    cover = mask[top - y : bottom - y, left - x : right - x, None]
    part = image[top:bottom, left:right].astype(np.float32)
    image[top:bottom, left:right] = np.rint(part + cover * (np.array(colour, np.float32) - part)).astype(np.uint8)


def _plain(text: str) -> str:
    return "".join(c if 32 <= ord(c) < 127 else "?" for c in text)
