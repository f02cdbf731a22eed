"""Whether a face's eyes or mouth are hidden: sunglasses, a mask, a hand, a cup. And how much light falls on it.

Landmark nets draw a mouth on a mask, with full presence. A mouth that is there has edges where it belongs; so gradient
histograms (Dalal and Triggs, Histograms of oriented gradients for human detection, CVPR 2005) of the aligned face and
its coarse shading go into two logistic regressions, whatever model reads the expression.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.files import read_file
from engine.spec import CropGeometry
from stream.camera.pixels import Image, as_pixels
from stream.faces.alignment import similarity

WEIGHTS = Path(__file__).with_name("covered.npz")
"""Made by ``python -m tests.scenes.covered fit``."""
_GEOMETRY = CropGeometry(size_px=64)
_CELLS = 8
_MOST_BYTES = 200_000
_LEAST_CONTRAST = 1.5
"""Grey levels: where nothing at all can be seen, nothing is seen to be covered."""


@dataclass(frozen=True)
class Cover:
    """What of a face can be seen.

    Attributes:
        eyes: How sure it is that they are hidden, 0..1.
        mouth: Likewise.
        brightness: Mean of the aligned face, 0 (black) to 1.
    """

    eyes: float
    mouth: float
    brightness: float


def cover(image: Image, points5: NDArray[np.floating]) -> Cover:
    """Look at one face.

    Args:
        image: The frame, RGB or planes.
        points5: ``(5, 2)`` px.

    Raises:
        ValueError: If the points are not finite or coincide.
    """
    face = aligned(image, points5)
    if face.std() < _LEAST_CONTRAST:
        return Cover(0.0, 0.0, float(face.mean()) / 255)
    weights, bias = _weights()
    eyes, mouth = 1 / (1 + np.exp(-(features(face) @ weights + bias)))
    return Cover(float(eyes), float(mouth), float(face.mean()) / 255)


def aligned(image: Image, points5: NDArray[np.floating]) -> NDArray[np.uint8]:
    """The aligned face, ``(64, 64)`` uint8; green stands for grey."""
    side = _GEOMETRY.size_px
    matrix = similarity(points5, _GEOMETRY)
    face = as_pixels(image).warp(matrix, (side, side), cv2.BORDER_REPLICATE, back=False)
    return np.ascontiguousarray(face[:, :, 1])


def features(face: NDArray[np.uint8]) -> NDArray[np.float32]:
    """``(1828,)`` float32 of an aligned face: gradient histograms, shading of 8×8 cells, light and contrast out."""
    # A little blur makes faces of few and of many pixels alike.
    soft = cv2.GaussianBlur(face, (0, 0), 1.0)
    shading = cv2.resize(soft, (_CELLS, _CELLS), interpolation=cv2.INTER_AREA).astype(np.float32).ravel()
    shading = (shading - shading.mean()) / max(float(shading.std()), 1.0)
    return np.concatenate([np.asarray(_histograms().compute(soft), np.float32).ravel(), shading])


@cache
def _histograms() -> cv2.HOGDescriptor:
    return cv2.HOGDescriptor((64, 64), (16, 16), (8, 8), (8, 8), 9)


@cache
def _weights() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    with np.load(io.BytesIO(read_file(WEIGHTS, _MOST_BYTES)), allow_pickle=False) as stored:
        return stored["weights"].astype(np.float32), stored["bias"].astype(np.float32)
