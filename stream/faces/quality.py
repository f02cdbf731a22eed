"""How well a face can be judged from this frame: its size and its sharpness."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.spec import CropGeometry
from stream.camera.pixels import Image, as_pixels
from stream.faces.alignment import similarity

_GEOMETRY = CropGeometry(size_px=64)
_COARSE_PX = 1.5
_NO_DETAIL = 3.5
_ROUNDING = 20 / 12
"""What rounding to whole grey levels alone gives the fine detail: a twelfth, times the squares of the kernel."""


def sharpness(image: Image, points5: NDArray[np.floating]) -> float:
    """How much of the aligned face's detail is fine, at 64 px.

    The variance of the Laplacian (Pech-Pacheco et al., Diatom autofocusing in brightfield microscopy, ICPR 2000) over
    that of the same face blurred, which a blur has already taken from a face that was blurred before (Crété et al., The
    blur effect, SPIE 2007): brightness and contrast cancel out. Measured on an aligned crop of one size, so that faces
    near and far are comparable; a small or defocused face has little fine detail there.

    Args:
        image: The frame, RGB or planes.
        points5: ``(5, 2)`` px.

    Returns:
        0 and up: 3.5 for a blur of 1 px there, which is where a face begins to look blurred, 15 to 70 for sharp ones;
        0 too where there is nothing to be seen.

    Raises:
        ValueError: If the points are not finite or coincide.
    """
    side = _GEOMETRY.size_px
    matrix = similarity(points5, _GEOMETRY)
    # Green alone stands for grey: one third of the work. No area shrink: aliasing counts as detail, and it is there.
    face = as_pixels(image).warp(matrix, (side, side), cv2.BORDER_REPLICATE, back=False)
    green = face[:, :, 1].astype(np.float32)
    fine, coarse = _detail(green), _detail(np.asarray(cv2.GaussianBlur(green, (0, 0), _COARSE_PX), np.float32))
    return max(max(fine - _ROUNDING, 0.0) / coarse - _NO_DETAIL, 0.0) if coarse > 0 else 0.0


def _detail(grey: NDArray[np.float32]) -> float:
    return float(cv2.meanStdDev(cv2.Laplacian(grey, cv2.CV_32F))[1][0, 0]) ** 2
