"""How well a face can be judged from this frame: its size and its sharpness."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.spec import CropGeometry
from stream.faces.alignment import similarity

_GEOMETRY = CropGeometry(size_px=64)


def sharpness(image: NDArray[np.uint8], points5: NDArray[np.floating]) -> float:
    """Variance of the Laplacian of the aligned face at 64 px.

    Pech-Pacheco et al., Diatom autofocusing in brightfield microscopy, ICPR 2000. Measured on an aligned crop of one
    size, so that faces near and far are comparable; a small or defocused face has little detail there.

    Args:
        image: ``(H, W, 3)`` uint8 RGB frame.
        points5: ``(5, 2)`` px.

    Returns:
        Grey levels squared, 0 and up: below about 50 is blurred.

    Raises:
        ValueError: If the points are not finite or coincide.
    """
    side = _GEOMETRY.size_px
    matrix = similarity(points5, _GEOMETRY)
    # Green alone stands for grey: one third of the work. No area shrink: aliasing counts as detail, and it is there.
    face = cv2.warpAffine(image, matrix, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    green = np.ascontiguousarray(face[:, :, 1])
    deviation = cv2.meanStdDev(cv2.Laplacian(green, cv2.CV_32F))[1]
    return float(deviation[0, 0]) ** 2
