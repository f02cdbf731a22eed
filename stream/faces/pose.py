"""Yaw, pitch and roll of a head from its 468 three-dimensional landmarks."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Pairs that are level across a head, and the points at its top and bottom.
_LEFT, _RIGHT = np.array((33, 133, 234, 127, 172, 61)), np.array((263, 362, 454, 356, 397, 291))
_TOP, _BOTTOM = np.array((10, 151, 9)), np.array((152, 175, 199))


@dataclass(frozen=True)
class HeadPose:
    """Which way a head looks, degrees in (-180, 180].

    Attributes:
        yaw_deg: Positive where the face turns towards the image's right.
        pitch_deg: Positive where it looks up.
        roll_deg: Positive where the head leans clockwise in the image.
    """

    yaw_deg: float
    pitch_deg: float
    roll_deg: float


def head_pose(points: NDArray[np.floating]) -> HeadPose:
    """Head pose from the net's own depth.

    The axis across the face and the axis down it are averaged over several landmark pairs; yaw and pitch are those of
    their cross product, the direction the face looks in, after the head's roll is undone.

    Args:
        points: ``(468, 3)``, x and y in px of the image, z in the same unit, smaller is nearer, turned with the region.
    """
    p = np.asarray(points, np.float64)
    pairs = p[_RIGHT] - p[_LEFT]
    across = (pairs / np.sqrt((pairs * pairs).sum(1, keepdims=True))).sum(0)
    down = p[_BOTTOM].sum(0) - p[_TOP].sum(0)
    ax, ay, az = across.tolist()
    bx, by, bz = down.tolist()
    # down x across, with x right, y down and z away from the camera: a face that looks into the camera has -z.
    look = (by * az - bz * ay, bz * ax - bx * az, bx * ay - by * ax)
    roll = math.atan2(ay, ax)
    x = math.cos(roll) * look[0] + math.sin(roll) * look[1]
    y = -math.sin(roll) * look[0] + math.cos(roll) * look[1]
    yaw = math.degrees(math.atan2(x, -look[2]))
    pitch = math.degrees(math.atan2(-y, math.hypot(x, look[2])))
    return HeadPose(yaw, pitch, math.degrees(roll))
