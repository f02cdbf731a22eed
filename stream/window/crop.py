"""The aligned crop: five landmarks of a face onto the template that the bundle states.

The same function cuts training clips and live frames, so the encoder sees one geometry.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.spec import CropGeometry
from stream.camera.pixels import Image, RgbPixels, as_pixels
from stream.faces.alignment import similarity

_BORDER = {"replicate": cv2.BORDER_REPLICATE, "black": cv2.BORDER_CONSTANT}


def crop_face(image: Image, points: NDArray[np.floating], geometry: CropGeometry) -> NDArray[np.uint8]:
    """Cut one aligned face out of a frame.

    Args:
        image: The frame, RGB or planes.
        points: ``(5, 2)`` landmarks in px: eye centre left and right in the image, nose tip, mouth corners.
        geometry: The template, size and border.

    Returns:
        ``(S, S, 3)`` uint8 RGB crop.
    """
    pixels = as_pixels(image)
    matrix = similarity(points, geometry)
    size = (geometry.size_px, geometry.size_px)
    scale = float(np.hypot(matrix[0, 0], matrix[1, 0]))
    # A face much larger than the crop would alias under bilinear sampling: shrink the frame by area first.
    if scale < 0.5:
        corners = cv2.invertAffineTransform(matrix) @ np.array(
            [[0, size[0], 0, size[0]], [0, 0, size[1], size[1]], [1, 1, 1, 1]], np.float64
        )
        height, width, _ = pixels.shape
        left, top = np.floor(corners.min(1)).astype(int) - 2
        right, bottom = np.ceil(corners.max(1)).astype(int) + 2
        left, top = max(left, 0), max(top, 0)
        right, bottom = min(right, width), min(bottom, height)
        if right - left > 4 and bottom - top > 4:
            factor = max(scale, 4 / min(right - left, bottom - top))
            shrunk_size = (
                max(int(round((right - left) * factor)), 1),
                max(int(round((bottom - top) * factor)), 1),
            )
            pixels = RgbPixels(pixels.shrunk(left, top, right, bottom, shrunk_size))
            fx, fy = shrunk_size[0] / (right - left), shrunk_size[1] / (bottom - top)
            # Pixel centres: (x + 0.5) * f - 0.5 maps full-resolution to shrunk coordinates.
            to_full = np.array(
                [[1 / fx, 0, left + 0.5 / fx - 0.5], [0, 1 / fy, top + 0.5 / fy - 0.5], [0, 0, 1]], np.float64
            )
            matrix = matrix @ to_full
    return pixels.warp(matrix, size, _BORDER[geometry.border], back=False)
