"""Augmentation of a clip: one draw, applied alike to all its frames.

What is drawn: random resized crop, rotation, flip, colour jitter, and for cars at night grey and near-infrared-like
images (one channel, lifted skin, vignette of the lamp, sensor noise). Geometry is one affine warp per frame.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from train.settings import AugmentSettings

Frames = NDArray[np.uint8]


@dataclass(frozen=True)
class ClipTransform:
    """One draw, for all frames of a clip.

    Attributes:
        matrix: ``(2, 3)`` from output to source pixel coordinates, both in units of the side, centre at 0.
        brightness: Factor.
        contrast: Factor about the clip's mean.
        saturation: Factor about grey; 0 is grey.
        hue_deg: Turn about the grey axis.
        infrared: Seed of the near-infrared look, or None.
    """

    matrix: NDArray[np.float64]
    brightness: float = 1.0
    contrast: float = 1.0
    saturation: float = 1.0
    hue_deg: float = 0.0
    infrared: int | None = None

    def __call__(self, frames: list[Frames] | Frames, size_px: int) -> Frames:
        """Transform all frames of a clip.

        Args:
            frames: T images ``(H, W, 3)`` uint8 RGB, or one array of them.
            size_px: Side of the output.

        Returns:
            ``(T, size_px, size_px, 3)`` uint8.
        """
        warped = np.stack([self._warp(frame, size_px) for frame in frames])
        return self._colour(warped)

    def _warp(self, frame: Frames, size_px: int) -> Frames:
        height, width = frame.shape[:2]
        if np.array_equal(self.matrix, np.eye(3)[:2]):
            if (height, width) == (size_px, size_px):
                return frame
            shrink = height * width > size_px * size_px
            interpolation = cv2.INTER_AREA if shrink else cv2.INTER_LINEAR
            return np.asarray(cv2.resize(frame, (size_px, size_px), interpolation=interpolation), np.uint8)
        scale = np.diag([width, height]).astype(np.float64)
        linear = scale @ self.matrix[:, :2] / size_px
        # Pixel centres: output pixel j lies at (j + 0.5) / size - 0.5 in units of the side.
        centre = np.array([width, height]) / 2 - 0.5 + scale @ self.matrix[:, 2]
        offset = centre - linear @ np.full(2, size_px / 2 - 0.5)
        matrix = np.concatenate([linear, offset[:, None]], axis=1)
        out = cv2.warpAffine(
            frame,
            matrix,
            (size_px, size_px),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )
        return np.asarray(out, np.uint8)

    def _colour(self, frames: Frames) -> Frames:
        plain = (self.brightness, self.contrast, self.saturation, self.hue_deg) == (1.0, 1.0, 1.0, 0.0)
        if not plain:
            mix = _colour_matrix(self.saturation, self.hue_deg) * (self.brightness * self.contrast)
            mean = frames.mean(dtype=np.float64) * self.brightness
            offset = mean * (1 - self.contrast)
            flat = frames.reshape(1, -1, 3)
            full = np.concatenate([mix, np.full((3, 1), offset)], axis=1)
            # cv2.transform saturates to uint8, in one pass over all frames.
            frames = np.asarray(cv2.transform(flat, full), np.uint8).reshape(frames.shape)
        return frames if self.infrared is None else _near_infrared(frames, np.random.default_rng(self.infrared))


IDENTITY = ClipTransform(np.eye(3)[:2])
"""Resizes and nothing else."""


def draw_transform(settings: AugmentSettings, rng: np.random.Generator) -> ClipTransform:
    """Draw one clip's transform."""
    area = rng.uniform(*settings.crop_scale)
    ratio = np.exp(rng.uniform(-1, 1) * np.log(settings.crop_ratio))
    width = min(1.0, float(np.sqrt(area * ratio)))
    height = min(1.0, float(np.sqrt(area / ratio)))
    shift = rng.uniform(-0.5, 0.5, 2) * (1 - np.array([width, height]))
    angle = np.deg2rad(rng.uniform(-1, 1) * settings.rotation_deg)
    mirror = -1.0 if rng.random() < settings.flip else 1.0
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    linear = rotation @ np.diag([mirror * width, height])
    brightness, contrast, saturation = (
        1 + float(rng.uniform(-1, 1)) * strength
        for strength in (settings.brightness, settings.contrast, settings.saturation)
    )
    hue = rng.uniform(-1, 1) * settings.hue_deg
    look = rng.random()
    if look < settings.grey:
        saturation = 0.0
    infrared = int(rng.integers(0, 2**31)) if settings.grey <= look < settings.grey + settings.infrared else None
    matrix = np.concatenate([linear, shift[:, None]], axis=1)
    return ClipTransform(matrix, brightness, contrast, saturation, float(hue), infrared)


_LUMA = np.array([0.299, 0.587, 0.114])


def _colour_matrix(saturation: float, hue_deg: float) -> NDArray[np.float64]:
    """Saturation about luma after a rotation about the grey axis."""
    angle = np.deg2rad(hue_deg)
    axis = np.full(3, 1 / np.sqrt(3))
    cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    turn = np.eye(3) * np.cos(angle) + np.sin(angle) * cross + (1 - np.cos(angle)) * np.outer(axis, axis)
    grey = np.outer(np.ones(3), _LUMA)
    return np.asarray((grey + saturation * (np.eye(3) - grey)) @ turn, np.float64)


def _near_infrared(frames: Frames, rng: np.random.Generator) -> Frames:
    """Look of a near-infrared camera with its own lamp: red weighs most, skin is bright and flat, edges fall off."""
    size = frames.shape[1]
    weights = np.array([[rng.uniform(0.6, 0.9), rng.uniform(0.1, 0.3), rng.uniform(0.0, 0.1)]])
    grey = np.asarray(cv2.transform(frames.reshape(1, -1, 3), weights), np.uint8).reshape(frames.shape[:3])
    lifted = 255.0 * (grey.astype(np.float32) / 255.0) ** rng.uniform(0.55, 0.8)
    grid = np.linspace(-1, 1, size, dtype=np.float32)
    distance = (grid[:, None] - rng.uniform(-0.3, 0.3)) ** 2 + (grid[None, :] - rng.uniform(-0.3, 0.3)) ** 2
    lit = lifted * np.exp(-distance * rng.uniform(0.15, 0.5)).astype(np.float32)
    noisy = lit + rng.standard_normal(lit.shape, np.float32) * np.float32(rng.uniform(2, 8))
    return np.repeat(np.clip(noisy, 0, 255).astype(np.uint8)[..., None], 3, axis=3)
