"""Pictures of faces as something between them and the camera leaves them: one strength each, told from their landmarks.

A probe is not what training does to crops (``train/data/augment/faults.py``): it changes the picture, before any
landmark is looked for. Strengths are in px of a face of 48.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

Grey = NDArray[np.uint8]
Points = NDArray[np.float32]


class Probe(NamedTuple):
    """One change of a picture.

    Attributes:
        name: As tables show it.
        change: Takes ``(H, W)`` uint8 grey, ``(5, 2)`` landmarks in px of it, and chance; gives a new picture.
        lost: WAR that may be lost to it, points; None where nothing was agreed.
    """

    name: str
    change: Callable[[Grey, Points, np.random.Generator], Grey]
    lost: float | None = None


def _clipped(values: NDArray[np.floating]) -> Grey:
    return np.asarray(np.clip(np.round(values), 0, 255), np.uint8)


def _covered(grey: Grey, outlines: list[NDArray[np.floating]], level: float, shade: float = 0.0) -> Grey:
    """The picture with filled outlines in px, their edges smooth; brighter by `shade` from top to bottom."""
    fine = 16
    cover = np.zeros(grey.shape, np.uint8)
    for outline in outlines:
        cv2.fillPoly(cover, [np.round(outline * fine).astype(np.int32)], 255, cv2.LINE_AA, shift=4)
    opaque = cover.astype(np.float64) / 255
    cloth = level + shade * np.linspace(-0.5, 0.5, grey.shape[0])[:, None]
    return _clipped(grey * (1 - opaque) + cloth * opaque)


def sunglasses(grey: Grey, points: Points, _: np.random.Generator) -> Grey:
    """Two dark lenses and a bridge."""
    left, right = points[0].astype(float), points[1].astype(float)
    across = right - left
    down = np.array([-across[1], across[0]])
    turn = np.linspace(0, 2 * np.pi, 40)[:, None]
    lenses = [eye + 0.04 * down + 0.42 * np.cos(turn) * across + 0.34 * np.sin(turn) * down for eye in (left, right)]
    bridge = [left + 0.2 * across, right - 0.2 * across]
    bar = np.array([bridge[0] - 0.04 * down, bridge[1] - 0.04 * down, bridge[1] + 0.04 * down, bridge[0] + 0.04 * down])
    return _covered(grey, [*lenses, bar], 22)


def surgical_mask(grey: Grey, points: Points, _: np.random.Generator) -> Grey:
    """A light mask from the bridge of the nose to the chin."""
    eyes, nose, mouth = points[:2].mean(0), points[2].astype(float), points[3:].mean(0)
    across, down = (points[1] - points[0]).astype(float), (mouth - eyes).astype(float)
    top, chin = nose - 0.25 * down, mouth + 0.75 * down
    outline = np.array(
        [top - 0.25 * across, top, top + 0.25 * across, nose + 0.85 * across, mouth + 0.75 * across,
         chin + 0.4 * across, chin - 0.4 * across, mouth - 0.75 * across, nose - 0.85 * across]
    )  # fmt: skip
    return _covered(grey, [outline], 205, -40)


def blurred(sigma: float) -> Callable[[Grey, Points, np.random.Generator], Grey]:
    """Out of focus by this deviation, px of a face of 48."""

    def change(grey: Grey, _: Points, __: np.random.Generator) -> Grey:
        return np.asarray(cv2.GaussianBlur(grey, (0, 0), sigma * grey.shape[0] / 48), np.uint8)

    return change


def moved(grey: Grey, _: Points, __: np.random.Generator) -> Grey:
    """Smeared along a line over 7 px of a face of 48, sideways."""
    length = max(round(7 * grey.shape[0] / 48), 1)
    return np.asarray(cv2.blur(grey, (length, 1), borderType=cv2.BORDER_REPLICATE), np.uint8)


def jpeg(quality: int) -> Callable[[Grey, Points, np.random.Generator], Grey]:
    """Compressed as JPEG."""

    def change(grey: Grey, _: Points, __: np.random.Generator) -> Grey:
        data = cv2.imencode(".jpg", grey, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        return np.asarray(cv2.imdecode(data, cv2.IMREAD_GRAYSCALE), np.uint8)

    return change


def noisy(grey: Grey, _: Points, chance: np.random.Generator) -> Grey:
    """Gaussian noise of deviation 30."""
    return _clipped(grey + 30 * chance.standard_normal(grey.shape))


def brighter(grey: Grey, _: Points, __: np.random.Generator) -> Grey:
    """70 grey levels more."""
    return _clipped(grey.astype(float) + 70)


def overexposed(grey: Grey, _: Points, __: np.random.Generator) -> Grey:
    """1.8 times the light."""
    return _clipped(grey * 1.8)


def near_infrared(grey: Grey, points: Points, chance: np.random.Generator) -> Grey:
    """Skin bright and even, a lamp beside the lens, dark corners, some noise."""
    height, width = grey.shape
    smooth = cv2.GaussianBlur(grey.astype(np.float64), (0, 0), height / 12)
    even = smooth.mean() + 0.35 * (smooth - smooth.mean()) + 0.9 * (grey - smooth)
    toned = 255 * (np.clip(even, 0, 255) / 255) ** 0.6
    y, x = np.mgrid[:height, :width]
    away = ((x - points[2, 0]) / width) ** 2 + ((y - points[2, 1]) / height) ** 2
    return _clipped(toned * (0.25 + 0.9 * np.exp(-away / 0.18)) + 4 * chance.standard_normal(grey.shape))


def half_shadow(rest: float) -> Callable[[Grey, Points, np.random.Generator], Grey]:
    """The left half of the face with this share of its light."""

    def change(grey: Grey, points: Points, _: np.random.Generator) -> Grey:
        edge = 1.5 * grey.shape[1] / 48
        lit = 1 / (1 + np.exp(-(np.arange(grey.shape[1]) - float(points[2, 0])) / edge))
        return _clipped(grey * (rest + (1 - rest) * lit)[None])

    return change


def tiny(grey: Grey, _: Points, __: np.random.Generator) -> Grey:
    """A picture of 24 px."""
    return np.asarray(cv2.resize(grey, (24, 24), interpolation=cv2.INTER_AREA), np.uint8)


def unchanged(grey: Grey, _: Points, __: np.random.Generator) -> Grey:
    """The picture itself."""
    return grey


CLEAN = Probe("clean", unchanged)
PROBES = (
    Probe("sunglasses", sunglasses, 6), Probe("mask", surgical_mask, 15), Probe("blur 1 px", blurred(1), 2),
    Probe("blur 2 px", blurred(2)), Probe("motion blur 7 px", moved), Probe("JPEG 20", jpeg(20), 2),
    Probe("JPEG 8", jpeg(8)), Probe("noise 30", noisy), Probe("brightness +70", brighter, 2),
    Probe("brightness x1.8", overexposed), Probe("near-infrared look", near_infrared, 4),
    Probe("half shadow 0.25", half_shadow(0.25), 2), Probe("half shadow 0.1", half_shadow(0.1), 4),
    Probe("24 px", tiny, 2),
)  # fmt: skip
"""What is measured beside the clean picture, in the order of the table."""
