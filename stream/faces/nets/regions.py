"""Rotated square regions of a frame: what a net looks at, and where its answers lie in the frame."""

from __future__ import annotations

import cmath
import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from stream.camera.pixels import Image, as_pixels
from stream.faces.result import Box

EYE_LEFT = (33, 133)
EYE_RIGHT = (362, 263)
NOSE_TIP = 1
MOUTH_LEFT = 61
MOUTH_RIGHT = 291
_FIVE = np.array([*EYE_LEFT, *EYE_RIGHT, NOSE_TIP, MOUTH_LEFT, MOUTH_RIGHT])


@dataclass(frozen=True)
class Region:
    """A rotated square.

    Attributes:
        x: Centre, px of the frame.
        y: Centre, px of the frame.
        size: Side, px.
        angle: Rotation, radians, clockwise in the image (the eyes' line of a face rolled that way).
    """

    x: float
    y: float
    size: float
    angle: float = 0.0

    def shifted(self, dx: float, dy: float) -> Region:
        """The same square moved by (dx, dy) px."""
        return replace(self, x=self.x + dx, y=self.y + dy)

    def aligned(self, ratio: complex, centre: complex) -> Region:
        """The same square at another centre, grown and turned by a complex ratio."""
        return Region(centre.real, centre.imag, self.size * abs(ratio), self.angle + cmath.phase(ratio))

    def to_frame(self, side_px: int) -> NDArray[np.float64]:
        """``(2, 3)`` matrix from net pixels (0..side_px) to frame pixels."""
        step = self.size / side_px
        cos, sin = math.cos(self.angle) * step, math.sin(self.angle) * step
        half = side_px / 2
        return np.array([[cos, -sin, self.x - half * (cos - sin)], [sin, cos, self.y - half * (sin + cos)]], np.float64)

    def cut(self, image: Image, side_px: int, border: int) -> NDArray[np.uint8]:
        """Sample the region bilinearly, as MediaPipe's image-to-tensor step does.

        Args:
            image: The frame, RGB or planes.
            side_px: Side of the result, px.
            border: OpenCV border mode outside the frame.

        Returns:
            ``(side_px, side_px, 3)`` uint8.
        """
        return as_pixels(image).warp(self.to_frame(side_px), (side_px, side_px), border)


def whole_frame(width: int, height: int) -> Region:
    """The smallest square around a frame, centred on it."""
    return Region(width / 2, height / 2, float(max(width, height)))


def region_of_detection(box: Box, keypoints: NDArray[np.floating], scale: float) -> Region:
    """The landmark net's region from a detection: its box's larger side times ``scale``, turned by the eyes' line.

    Args:
        box: (x, y, width, height), px.
        keypoints: ``(6, 2)`` px; the first two are the eyes, left in the image first.
        scale: Region side over box side.
    """
    x, y, width, height = box
    dx, dy = (float(v) for v in keypoints[1] - keypoints[0])
    return Region(x + width / 2, y + height / 2, max(width, height) * scale, math.atan2(dy, dx))


def region_of_landmarks(points: NDArray[np.floating], scale: float) -> Region:
    """The landmark net's region for the next frame from this frame's landmarks.

    The box is taken in the face's own rotated frame, so that rolling the head does not change the region's size.

    Args:
        points: ``(468, 2)`` or ``(468, 3)`` px.
        scale: Region side over box side.
    """
    xy = np.asarray(points[:, :2], np.float64)
    dx, dy = xy[EYE_RIGHT[1]] - xy[EYE_LEFT[0]]
    angle = math.atan2(dy, dx)
    cos, sin = math.cos(angle), math.sin(angle)
    along = xy @ np.array([[cos, -sin], [sin, cos]])
    low, high = along.min(0), along.max(0)
    u, v = (low + high) / 2
    return Region(float(cos * u - sin * v), float(sin * u + cos * v), float((high - low).max()) * scale, angle)


def five_points(landmarks: NDArray[np.floating]) -> NDArray[np.float32]:
    """``(5, 2)`` float32 px: eye centre left and right in the image, nose tip, mouth corner left and right."""
    corners = np.asarray(landmarks[_FIVE, :2], np.float32)
    eyes = (corners[0:4:2] + corners[1:4:2]) / 2
    return np.concatenate([eyes, corners[4:]])


def box_of(points: NDArray[np.floating]) -> Box:
    """(x, y, width, height) around points, px."""
    low, high = points[:, :2].min(0), points[:, :2].max(0)
    return float(low[0]), float(low[1]), float(high[0] - low[0]), float(high[1] - low[1])
