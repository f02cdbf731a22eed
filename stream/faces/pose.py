"""Yaw and pitch of a head from its 468 three-dimensional landmarks."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

# Pairs that are level across a head, and the two that span it from brow to chin.
_ACROSS = ((33, 263), (133, 362), (234, 454), (127, 356), (172, 397), (61, 291))
_TOP, _BOTTOM = (10, 151, 9), (152, 175, 199)
# The line from forehead to chin leans back in a head that looks straight ahead: mean over frontal faces, degrees.
_LEAN_DEG = 0.0


def head_pose(points: NDArray[np.floating]) -> tuple[float, float]:
    """Head pose from the net's own depth.

    The axis across the face and the axis down it are averaged over several landmark pairs; yaw and pitch are those of their
    cross product, the direction the face looks in, after the head's roll is undone.

    Args:
        points: ``(468, 3)``, x and y in px of the image, z in the same unit, smaller is nearer, turned with the region.

    Returns:
        (yaw_deg, pitch_deg): yaw positive where the face turns towards the image's right, pitch positive where it looks up.
        Both in (-180, 180].
    """
    p = np.asarray(points, np.float64)
    across = sum((p[right] - p[left]) / np.linalg.norm(p[right] - p[left]) for left, right in _ACROSS)
    down = p[list(_BOTTOM)].mean(0) - p[list(_TOP)].mean(0)
    across = across / np.linalg.norm(across)
    look = np.cross(down, across)  # x right, y down, z away: towards the camera is -z
    roll = math.atan2(float(across[1]), float(across[0]))
    x = math.cos(roll) * look[0] + math.sin(roll) * look[1]
    y = -math.sin(roll) * look[0] + math.cos(roll) * look[1]
    yaw = math.degrees(math.atan2(x, -look[2]))
    pitch = math.degrees(math.atan2(-y, math.hypot(x, look[2]))) - _LEAN_DEG
    return yaw, pitch
