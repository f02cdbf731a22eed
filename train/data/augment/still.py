"""Batched augmentation: aligned crops of stills as a camera of unknown quality would deliver them.

A still becomes a crop in one interpolation from its own pixels, through the daemon's similarity transform disturbed by
what a tracker gets wrong; then come light, blur, noise, compression and things in front of the face. All of it runs on
whole batches of tensors, and one generator decides everything, so equal seeds give equal crops.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from engine.spec import CropGeometry
from stream.faces.alignment import similarity


@dataclass(frozen=True)
class AugmentConfig:
    """How far crops are disturbed. Probabilities are per crop.

    Attributes:
        turn_deg: Standard deviation of the in-plane rotation, degrees.
        zoom: Standard deviation of the log of the scale.
        shift: Standard deviation of the shift, of the crop's side.
        shear: Standard deviation of shear and of the log of the aspect ratio.
        unaligned: Probability of the mean alignment in place of the still's own landmarks.
        foreign_fill: Probability that pixels beyond the still are not a replicated border.
        degrade: Probability of each kind of camera fault (gamma, shade, blur, sharpening, noise, compression).
        occlude: Probability of a patch in front of the face.
    """

    turn_deg: float = 7.0
    zoom: float = 0.08
    shift: float = 0.03
    shear: float = 0.05
    unaligned: float = 0.1
    foreign_fill: float = 0.5
    degrade: float = 0.15
    occlude: float = 0.2

    def settled(self, share: float) -> AugmentConfig:
        """The same disturbances, rarer and smaller by this factor, for the end of a run."""
        return AugmentConfig(**{name: value * share for name, value in asdict(self).items()})


def crop_matrices(points: NDArray[np.float32], geometry: CropGeometry) -> NDArray[np.float32]:
    """Inverse crop transforms in units of the crop's side.

    Args:
        points: ``(N, 5, 2)`` landmarks, px of the still.
        geometry: The template; its size does not matter.

    Returns:
        ``(N, 2, 3)`` float32, mapping crop coordinates in [0, 1] (0 and 1 are the outer edges) to px of the still.
    """
    result = np.empty((len(points), 2, 3), np.float32)
    size = float(geometry.size_px)
    for row, five in enumerate(points):
        forward = np.vstack([similarity(five, geometry), [0, 0, 1]])
        # The template speaks of pixel indices; index = size * unit - 0.5.
        units = np.array([[size, 0, -0.5], [0, size, -0.5], [0, 0, 1]])
        result[row] = (np.linalg.inv(forward) @ units)[:2]
    return result


def _normal(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.randn(shape, generator=generator, device=generator.device)


def _uniform(shape: tuple[int, ...], low: float, high: float, generator: torch.Generator) -> Tensor:
    return torch.rand(shape, generator=generator, device=generator.device) * (high - low) + low


def sample_grid(matrices: Tensor, size_px: int, still_px: int) -> Tensor:
    """Sampling grid of crops.

    Args:
        matrices: ``(B, 2, 3)`` from crop units to px of the still.
        size_px: Side of the crops, px.
        still_px: Side of the stills, px.

    Returns:
        ``(B, S, S, 2)`` for ``grid_sample`` with ``align_corners=True``.
    """
    axis = (torch.arange(size_px, device=matrices.device) + 0.5) / size_px
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    homogeneous = torch.stack([x, y, torch.ones_like(x)], -1)
    source = torch.einsum("ijk,bck->bijc", homogeneous, matrices)
    return source * (2 / (still_px - 1)) - 1


def render(stills: Tensor, matrices: Tensor, size_px: int) -> Tensor:
    """Undisturbed aligned crops with replicated borders, as the daemon cuts them.

    Args:
        stills: ``(B, H, H)`` float or uint8.
        matrices: ``(B, 2, 3)`` of :func:`crop_matrices`.
        size_px: Side of the crops.

    Returns:
        ``(B, 1, S, S)`` float32 in [0, 255].
    """
    grid = sample_grid(matrices, size_px, stills.shape[-1])
    return functional.grid_sample(stills[:, None].float(), grid, padding_mode="border", align_corners=True)


def disturb(matrices: Tensor, config: AugmentConfig, generator: torch.Generator, strength: float = 1.0) -> Tensor:
    """Turn, zoom, shift, shear and mirror crop transforms at random.

    Args:
        matrices: ``(B, 2, 3)``.
        config: How far.
        generator: Source of chance.
        strength: Factor on every deviation.

    Returns:
        ``(B, 2, 3)``.
    """
    count = len(matrices)
    angle = _normal((count,), generator) * (math.radians(config.turn_deg) * strength)
    zoom = torch.exp(_normal((count,), generator) * (config.zoom * strength))
    aspect = torch.exp(_normal((count,), generator) * (config.shear * strength))
    shear = _normal((count,), generator) * (config.shear * strength)
    shift = _normal((count, 2), generator) * (config.shift * strength)
    mirror = torch.where(_uniform((count,), 0, 1, generator) < 0.5, -1.0, 1.0)
    cos, sin = torch.cos(angle) * zoom, torch.sin(angle) * zoom
    inner = torch.zeros(count, 3, 3, device=matrices.device)
    inner[:, 0, 0], inner[:, 0, 1] = cos * aspect * mirror, -sin + shear
    inner[:, 1, 0], inner[:, 1, 1] = sin * mirror, cos / aspect
    # Around the crop's centre.
    inner[:, :2, 2] = 0.5 + shift - inner[:, :2, :2].sum(-1) * 0.5
    inner[:, 2, 2] = 1
    return matrices @ inner


def _foreign(crops: Tensor, grid: Tensor, config: AugmentConfig, generator: torch.Generator) -> Tensor:
    """Replace pixels beyond the still: black, grey, noise, or the middle of another crop, greatly enlarged."""
    count, size = len(crops), crops.shape[-1]
    outside = (grid.abs() > 1.02).any(-1)[:, None]
    kind = _uniform((count, 1, 1, 1), 0, 1, generator)
    level = _uniform((count, 1, 1, 1), 0, 255, generator)
    other = torch.roll(crops, 1, 0).flip(-2)
    other = functional.interpolate(
        other[..., size // 4 : -size // 4, size // 4 : -size // 4], size=(size, size), mode="bilinear"
    )
    noise = level + _normal(tuple(crops.shape), generator) * 30
    fill = torch.where(kind < 0.2, torch.zeros_like(crops), torch.where(kind < 0.4, level.expand_as(crops), other))
    fill = torch.where((kind >= 0.4) & (kind < 0.55), noise, fill)
    chosen = _uniform((count, 1, 1, 1), 0, 1, generator) < config.foreign_fill
    return torch.where(outside & chosen, fill, crops)


_DCT = torch.tensor(
    [
        [math.sqrt((1 if k == 0 else 2) / 8) * math.cos(math.pi * (2 * n + 1) * k / 16) for n in range(8)]
        for k in range(8)
    ]
)
_QUANTA = torch.tensor([[10.0 + 6.0 * (i + j) + 0.8 * i * j for j in range(8)] for i in range(8)])


def compress(crops: Tensor, coarseness: Tensor) -> Tensor:
    """Blockwise cosine quantisation, which is what JPEG and video codecs lose.

    Args:
        crops: ``(B, 1, S, S)``, S a multiple of 8.
        coarseness: ``(B,)`` factor on the quantisation table; 0.5 is fair, 3 is poor.

    Returns:
        ``(B, 1, S, S)``.
    """
    count, _, size, _ = crops.shape
    dct, quanta = _DCT.to(crops.device), _QUANTA.to(crops.device)
    blocks = crops.reshape(count, size // 8, 8, size // 8, 8).permute(0, 1, 3, 2, 4)
    steps = quanta * coarseness[:, None, None, None, None]
    kept = torch.round(dct @ blocks @ dct.T / steps) * steps
    return (dct.T @ kept @ dct).permute(0, 1, 3, 2, 4).reshape(crops.shape)


def degrade(crops: Tensor, config: AugmentConfig, generator: torch.Generator) -> Tensor:
    """Light, blur, sharpening, noise, compression and occlusion.

    Args:
        crops: ``(B, 1, S, S)`` float in [0, 255].
        config: How often.
        generator: Source of chance.

    Returns:
        ``(B, 1, S, S)`` float in [0, 255].
    """
    count, size = len(crops), crops.shape[-1]

    def chosen(probability: float) -> Tensor:
        return torch.nonzero(_uniform((count,), 0, 1, generator) < probability)[:, 0]

    def column(rows: Tensor, low: float, high: float) -> Tensor:
        return _uniform((len(rows), 1, 1, 1), low, high, generator)

    crops = crops.clamp(0, 255)
    rows = chosen(config.occlude)
    if len(rows):
        axis = torch.arange(size, device=crops.device) / size
        wide, high = column(rows, 0.1, 0.45), column(rows, 0.1, 0.45)
        inside_x = (axis - column(rows, 0, 1)).abs() < wide / 2
        inside_y = (axis[:, None] - column(rows, 0, 1)).abs() < high / 2
        patch = column(rows, 0, 255) + _normal((len(rows), 1, size, size), generator) * column(rows, 0, 25)
        crops[rows] = torch.where(inside_x & inside_y, patch, crops[rows])
    rows = chosen(config.degrade)
    if len(rows):  # gamma
        crops[rows] = 255 * (crops[rows].clamp(0, 255) / 255) ** torch.exp(column(rows, -0.7, 0.7))
    rows = chosen(config.degrade)
    if len(rows):  # light from one side
        axis = torch.linspace(-1, 1, size, device=crops.device)
        angle = column(rows, 0, 2 * math.pi)
        slope = torch.cos(angle) * axis + torch.sin(angle) * axis[:, None]
        crops[rows] = crops[rows] * torch.exp(slope * column(rows, 0.1, 0.9))
    rows = chosen(config.degrade)
    if len(rows):  # a smaller face enlarged; one size per batch keeps it a single call
        small = int(_uniform((1,), 0.3, 0.8, generator).item() * size)
        less = functional.interpolate(crops[rows], size=(small, small), mode="bilinear", antialias=True)
        crops[rows] = functional.interpolate(less, size=(size, size), mode="bilinear")
    rows = chosen(config.degrade)
    if len(rows):  # sharper than a 48 px still can be
        soft = functional.avg_pool2d(functional.pad(crops[rows], (1, 1, 1, 1), mode="replicate"), 3, 1)
        crops[rows] = crops[rows] + column(rows, 0.3, 1.5) * (crops[rows] - soft)
    rows = chosen(config.degrade)
    if len(rows):  # dark and noisy
        noise = _normal((len(rows), 1, size, size), generator)
        crops[rows] = crops[rows] * column(rows, 0.2, 1.0) + noise * column(rows, 1, 8)
    rows = chosen(config.degrade)
    if len(rows):
        crops[rows] = compress(crops[rows].clamp(0, 255), _uniform((len(rows),), 0.3, 2.5, generator))
    return crops.clamp(0, 255)


def augment(
    stills: Tensor,
    matrices: Tensor,
    mean_matrix: Tensor,
    size_px: int,
    config: AugmentConfig,
    generator: torch.Generator,
    strength: float = 1.0,
) -> Tensor:
    """Random crops of stills.

    Args:
        stills: ``(B, H, H)`` uint8 or float grey stills.
        matrices: ``(B, 2, 3)`` of :func:`crop_matrices`.
        mean_matrix: ``(2, 3)``, the same for the mean face.
        size_px: Side of the crops, px; a multiple of 8.
        config: How far crops are disturbed.
        generator: Source of chance.
        strength: Factor on the geometric deviations.

    Returns:
        ``(B, 1, S, S)`` float32 in [0, 255].
    """
    unaligned = _uniform((len(stills), 1, 1), 0, 1, generator) < config.unaligned
    matrices = disturb(torch.where(unaligned, mean_matrix, matrices), config, generator, strength)
    grid = sample_grid(matrices, size_px, stills.shape[-1])
    crops = functional.grid_sample(stills[:, None].float(), grid, padding_mode="border", align_corners=True)
    return degrade(_foreign(crops, grid, config, generator), config, generator)


def swapped(crops: Tensor, generator: torch.Generator) -> Tensor:
    """Crops whose lower part is another's, across a soft line at a random height: an expression nobody was asked about.

    Args:
        crops: ``(B, 1, S, S)`` aligned crops, so that the parts meet as one face.
        generator: Source of chance.

    Returns:
        ``(B, 1, S, S)``.
    """
    size = crops.shape[-1]
    rows = torch.arange(size, device=crops.device)[:, None] / size
    line = 0.4 + 0.3 * torch.rand(len(crops), 1, 1, 1, generator=generator).to(crops.device)
    return torch.lerp(crops, crops.flip(0), torch.sigmoid((rows - line) * size / 1.5))
