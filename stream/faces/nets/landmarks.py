"""The FaceMesh landmark net on one region of a frame.

Kartynnik et al., Real-time Facial Surface Geometry from Monocular Video on Mobile GPUs, arXiv:1907.06724.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from stream.camera.pixels import Image
from stream.faces.nets.models import Net
from stream.faces.nets.regions import Region

_POINTS = "conv2d_21"
_PRESENCE = "conv2d_31"


@dataclass(frozen=True, eq=False)
class Landmarks:
    """The net's answer.

    Attributes:
        points: ``(468, 3)`` float32: x and y in px of the frame; z in the same unit, smaller is nearer, turned with
            the region.
        presence: Whether a face is there, 0..1. It does not see drift.
    """

    points: NDArray[np.float32]
    presence: float


class LandmarkNet:
    """``face_landmark.tflite``: 468 points and a face presence."""

    def __init__(self) -> None:
        self._net = Net("landmark")

    def run(self, image: Image, region: Region) -> Landmarks:
        """Find the landmarks of the face in a region.

        Args:
            image: The frame, RGB or planes.
            region: Where the face is, 1.5 times its box.
        """
        side = self._net.side_px
        out = self._net.run(region.cut(image, side, cv2.BORDER_REPLICATE))
        raw = out[_POINTS].reshape(468, 3)
        matrix = region.to_frame(side)
        points = np.empty((468, 3), np.float32)
        points[:, :2] = raw[:, :2] @ matrix[:, :2].T + matrix[:, 2]
        points[:, 2] = raw[:, 2] * (region.size / side)
        logit = float(out[_PRESENCE].reshape(-1)[0])
        return Landmarks(points, 1.0 / (1.0 + math.exp(-max(min(logit, 60.0), -60.0))))
