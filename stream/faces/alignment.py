"""The alignment of a face: five landmarks onto the template that the bundle states."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.spec import CropGeometry


def similarity(points: NDArray[np.floating], geometry: CropGeometry) -> NDArray[np.float64]:
    """Least-squares similarity transform from frame to crop coordinates (Umeyama, IEEE TPAMI 13(4), 1991).

    Args:
        points: ``(5, 2)`` landmarks, px of the frame, in the template's order.
        geometry: The template and the crop's size.

    Returns:
        ``(2, 3)`` float64 matrix for ``cv2.warpAffine``.

    Raises:
        ValueError: If the points are not finite or coincide.
    """
    source = np.asarray(points, np.float64)
    if source.shape != (5, 2) or not np.isfinite(source).all():
        raise ValueError(f"five finite (x, y) points are needed, got shape {source.shape}")
    target = np.asarray(geometry.template, np.float64) * geometry.size_px
    source_mean, target_mean = source.mean(0), target.mean(0)
    a, b = source - source_mean, target - target_mean
    spread = float((a * a).sum())
    if spread < 1e-9:
        raise ValueError("the five points coincide")
    # In the plane the optimal rotation and scale have a closed form: the complex ratio <a, b> / <a, a>.
    cos = float((a * b).sum()) / spread
    sin = float((a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).sum()) / spread
    rotation = np.array([[cos, -sin], [sin, cos]])
    return np.concatenate([rotation, (target_mean - rotation @ source_mean)[:, None]], axis=1)
