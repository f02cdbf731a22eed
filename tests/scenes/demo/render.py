"""One frame of the demo clip: pose, head and camera to pixels, by piecewise-affine warping."""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator

from tests.scenes.demo.expression import INNER_LOWER, INNER_UPPER, FaceFrame, blink, displacement
from tests.scenes.demo.portrait import SCALE, Portrait
from tests.scenes.demo.poses import POSES

_SHIFT = 4  # fractional bits of polygon corners


@dataclass(frozen=True)
class View:
    """Head and camera of one frame.

    Attributes:
        yaw_deg, pitch_deg, roll_deg: Head; positive yaw turns to the image's right, positive pitch looks
            down, positive roll tilts clockwise in the image.
        head_x, head_y: Head position, px of the photograph.
        zoom: Px of the clip per px of the photograph.
        look_x, look_y: Point of the photograph in the middle of the picture.
        camera_roll_deg: Camera.
    """

    yaw_deg: float = 0.0
    pitch_deg: float = 0.0
    roll_deg: float = 0.0
    head_x: float = 0.0
    head_y: float = 0.0
    zoom: float = 2.2
    look_x: float = 228.0
    look_y: float = 110.0
    camera_roll_deg: float = 0.0


@dataclass
class Renderer:
    """Draws frames of one portrait.

    Attributes:
        portrait: The portrait.
        size: Width and height of the picture, px.
    """

    portrait: Portrait
    size: tuple[int, int] = (640, 480)
    _fields: dict[str, NDArray[np.float64]] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        landmarks = self.portrait.points[:478]
        self._fields = {name: displacement(landmarks, pose) for name, pose in POSES.items()}

    def _moved(self, weights: dict[str, float], closed: float, view: View) -> NDArray[np.float64]:
        """Mesh vertices ``(N, 2)`` in px of the picture."""
        points = self.portrait.points.copy()
        frame = FaceFrame.of(points)
        for name, weight in weights.items():
            points[:478, :2] += weight * self._fields[name]
        if closed > 0:
            points[:478, :2] += closed * blink(points[:478])
        # Head: rotation about the top of the neck.
        unit = float(np.linalg.norm(frame.axes[0]))
        pivot = np.array([frame.origin[0], frame.origin[1] + 1.7 * unit, 35.0 * SCALE])
        yaw, pitch, roll = np.deg2rad([view.yaw_deg, view.pitch_deg, view.roll_deg])
        about_y = np.array([[np.cos(yaw), 0, -np.sin(yaw)], [0, 1, 0], [np.sin(yaw), 0, np.cos(yaw)]])
        about_x = np.array([[1, 0, 0], [0, np.cos(pitch), -np.sin(pitch)], [0, np.sin(pitch), np.cos(pitch)]])
        about_z = np.array([[np.cos(roll), -np.sin(roll), 0], [np.sin(roll), np.cos(roll), 0], [0, 0, 1]])
        turned = (points - pivot) @ (about_z @ about_x @ about_y).T + pivot
        turned[:, :2] += SCALE * np.array([view.head_x, view.head_y])
        flat = points[:, :2] + self.portrait.head[:, None] * (turned[:, :2] - points[:, :2])
        camera = self._camera(view)
        return np.asarray(flat @ camera[:, :2].T + camera[:, 2], np.float64)

    def _camera(self, view: View) -> NDArray[np.float64]:
        look = (np.array([view.look_x, view.look_y]) - (0, -40)) * SCALE
        angle, zoom = np.deg2rad(view.camera_roll_deg), view.zoom / SCALE
        turn = zoom * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        return np.concatenate([turn, (np.array(self.size) / 2 - turn @ look)[:, None]], 1)

    def _inverse_map(self, target: NDArray[np.float64]) -> NDArray[np.float32]:
        """Where in the portrait each pixel of the picture comes from, ``(H, W, 2)`` float32."""
        width, height = self.size
        triangles = self.portrait.triangles
        owner = np.zeros((height, width), np.int32)
        corners = target[triangles]  # [M, 3, 2]
        edges_a, edges_b = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
        area = edges_a[:, 0] * edges_b[:, 1] - edges_a[:, 1] * edges_b[:, 0]
        source = self.portrait.points[:, :2][triangles]
        seen = (corners.min(1) < (width, height)).all(1) & (corners.max(1) > 0).all(1) & (np.abs(area) > 0.02)
        affine = np.zeros((len(triangles), 2, 3))
        for k in np.flatnonzero(seen):
            cv2.fillConvexPoly(owner, np.round(corners[k] * 2**_SHIFT).astype(np.int32), int(k), shift=_SHIFT)
            affine[k] = cv2.getAffineTransform(corners[k].astype(np.float32), source[k].astype(np.float32))
        chosen = affine[owner]  # [H, W, 2, 3]
        y, x = np.mgrid[0:height, 0:width].astype(np.float64)
        where = np.asarray(chosen[..., 0] * x[..., None] + chosen[..., 1] * y[..., None] + chosen[..., 2], np.float32)
        # Slivers along a turned cheek point far away: single wrong pixels in a map that is smooth elsewhere.
        return np.stack([cv2.medianBlur(np.ascontiguousarray(where[..., k]), 5) for k in (0, 1)], -1)

    def _mouth(
        self,
        picture: NDArray[np.float32],
        target: NDArray[np.float64],
        view: View,
        skull: NDArray[np.float64],
    ) -> NDArray[np.float32]:
        """Paint what is behind the lips and the shadow where they meet."""
        upper = _rounded(target[list(INNER_UPPER)])
        lower = _rounded(target[[78, *INNER_LOWER, 308]])
        lower = np.stack([lower[:, 0], np.maximum(lower[:, 1], upper[:, 1])], 1)
        outline = np.concatenate([upper, lower[::-1]])
        mask = np.zeros(picture.shape[:2], np.float32)
        cv2.fillPoly(mask, [np.round(outline * 2**_SHIFT).astype(np.int32)], 1.0, cv2.LINE_AA, _SHIFT)
        gap = float((lower[:, 1] - upper[:, 1]).max())
        mask = cv2.GaussianBlur(mask, (0, 0), 0.8)[..., None] * np.clip(gap / 2.0, 0, 1)
        inside = cv2.warpAffine(self.portrait.mouth, skull, self.size, flags=cv2.INTER_LINEAR)
        # The lips shade what is directly behind them.
        rim = cv2.GaussianBlur(mask, (0, 0), 0.035 * view.zoom * 43)[..., None]
        inside = inside * np.clip(0.55 + 0.6 * rim, 0, 1)
        picture = picture * (1 - mask) + inside * mask
        seam = np.zeros(picture.shape[:2], np.float32)
        line = np.round((upper + lower) / 2 * 2**_SHIFT).astype(np.int32)
        cv2.polylines(seam, [line], False, 1.0, 2, cv2.LINE_AA, _SHIFT)
        seam = cv2.GaussianBlur(seam, (0, 0), 0.016 * view.zoom * 43)[..., None] * np.clip(1 - gap / 6.0, 0, 1)
        return np.asarray(picture * (1 - 0.75 * seam * np.array([1.0, 0.95, 0.7], np.float32)), np.float32)

    def draw(self, weights: dict[str, float], closed: float = 0.0, view: View | None = None) -> NDArray[np.float32]:
        """Draw one frame.

        Args:
            weights: Pose name to weight; they sum to 1.
            closed: Blink, 0 open to 1 closed.
            view: Head and camera.

        Returns:
            ``(H, W, 3)`` float32 BGR, 0–255, without noise.
        """
        view = view or View()
        target = self._moved(weights, closed, view)
        where = self._inverse_map(target)
        smile = min(weights.get("happiness", 0.0), 1.0)
        frown = min(weights.get("sadness", 0.0) + weights.get("anger", 0.0), 1.0)
        textures = self.portrait.textures
        skin = textures["smile"] * smile + textures["frown"] * frown + textures["rest"] * (1 - smile - frown)
        picture = cv2.remap(skin, where[..., 0], where[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
        # Teeth belong to the skull: take its motion from points that no expression moves.
        still = [6, 168, 197, 4, 33, 263, 133, 362, 234, 454]
        skull, _ = cv2.estimateAffine2D(
            self.portrait.points[still, :2].astype(np.float32),
            target[still].astype(np.float32),
            method=cv2.LMEDS,
        )
        return self._mouth(np.asarray(picture, np.float32), target, view, np.asarray(skull, np.float64))


def _rounded(line: NDArray[np.float64]) -> NDArray[np.float64]:
    """A contour of few landmarks as a smooth curve of 41 points, ``(41, 2)``."""
    step = np.linalg.norm(np.diff(line, axis=0), axis=1) + 1e-6
    along = np.concatenate([[0.0], np.cumsum(step)])
    return np.asarray(PchipInterpolator(along, line)(np.linspace(0, along[-1], 41)))
