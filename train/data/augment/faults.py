"""What stands between a face and the camera, on whole batches of aligned crops: glasses, masks, hands, light, lenses.

Crops are aligned, so things that are worn are drawn about the template's landmarks, each crop's own a little off, in
shape, level and texture of their own. None of it is a probe of ``train/evaluation/probes.py``: those change the
picture, at one strength each, before its landmarks are looked for.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from train.data.augment.still import compress

_EYES, _NOSE, _MOUTH = 0.357, 0.5625, 0.768
"""Heights of the template's landmarks, of the crop's side."""


def _between(count: int, low: float, high: float, chance: torch.Generator) -> Tensor:
    drawn = torch.rand(count, 1, 1, 1, generator=chance, device=chance.device)
    return drawn * (high - low) + low


def _normal(like: Tensor, chance: torch.Generator) -> Tensor:
    return torch.randn(like.shape, generator=chance, device=chance.device)


def _axes(crops: Tensor) -> tuple[Tensor, Tensor]:
    axis = (torch.arange(crops.shape[-1], device=crops.device) + 0.5) / crops.shape[-1]
    return axis[None, None, None, :], axis[None, None, :, None]


def _over(crops: Tensor, inside: Tensor, level: Tensor, shade: Tensor, chance: torch.Generator) -> Tensor:
    """Crops with cloth or glass where `inside` is above 0 (a signed distance, of the crop's side)."""
    _, y = _axes(crops)
    cover = torch.sigmoid(inside * crops.shape[-1] * 1.5)
    cloth = level + shade * (y - 0.5) + _normal(crops, chance) * _between(len(crops), 0, 10, chance)
    return torch.lerp(crops, cloth, cover)


def glasses(crops: Tensor, chance: torch.Generator) -> Tensor:
    """Dark lenses with a bridge, round to square; some let a little through, some mirror."""
    count, (x, y) = len(crops), _axes(crops)
    across, high = _between(count, 0.11, 0.17, chance), _between(count, 0.09, 0.145, chance)
    middle, apart = _EYES + _between(count, -0.02, 0.05, chance), _between(count, 0.16, 0.19, chance)
    power = _between(count, 2, 5, chance)
    off = _between(count, -0.02, 0.02, chance)
    dx = ((x - 0.5 - off).abs() - apart).abs() / across
    dy = (y - middle).abs() / high
    lens = (1 - (dx.clamp_min(1e-4) ** power + dy.clamp_min(1e-4) ** power) ** (1 / power)) * high
    bar = torch.minimum(apart - (x - 0.5 - off).abs(), 0.02 - (y - middle + 0.02).abs())
    worn = _over(
        crops, torch.maximum(lens, bar), _between(count, 5, 70, chance), _between(count, -40, 40, chance), chance
    )
    return torch.lerp(worn, crops, _between(count, 0, 0.25, chance))


def mask(crops: Tensor, chance: torch.Generator) -> Tensor:
    """A mask, light or dark, from somewhere on the nose to below the chin, cheek to cheek."""
    count, (x, y) = len(crops), _axes(crops)
    top = _NOSE + _between(count, -0.11, 0.03, chance)
    wide = _between(count, 0.27, 0.42, chance)
    fall = _between(count, 0.1, 0.7, chance)
    away = (x - 0.5 - _between(count, -0.02, 0.02, chance)).abs()
    chin = _between(count, 0.88, 1.1, chance)
    narrower = wide - (y - _MOUTH).clamp_min(0) * _between(count, 0.3, 0.9, chance)
    inside = torch.minimum(torch.minimum(y - top - fall * away.square() * 2, chin - y), narrower - away)
    return _over(crops, inside, _between(count, 20, 235, chance), _between(count, -90, 30, chance), chance)


def hand(crops: Tensor, chance: torch.Generator) -> Tensor:
    """Something with a slanted edge in front of mouth or cheek, as bright as skin or not."""
    count, (x, y) = len(crops), _axes(crops)
    angle = _between(count, 0, 2 * math.pi, chance)
    cx, cy = _between(count, 0.25, 0.75, chance), _between(count, 0.6, 0.95, chance)
    along = (x - cx) * torch.cos(angle) + (y - cy) * torch.sin(angle)
    aside = (y - cy) * torch.cos(angle) - (x - cx) * torch.sin(angle)
    inside = torch.minimum(
        _between(count, 0.12, 0.4, chance) - along.abs(), _between(count, 0.06, 0.18, chance) - aside.abs()
    )
    level = crops.mean((2, 3), keepdim=True) * _between(count, 0.4, 1.5, chance)
    return _over(crops, inside, level, _between(count, -60, 60, chance), chance)


def out_of_focus(crops: Tensor, chance: torch.Generator) -> Tensor:
    """Blurred by a Gaussian; one deviation for the batch keeps it a single call."""
    return _smeared(crops, float(_between(1, 0.7, 2.6, chance)), float(_between(1, 0.7, 2.6, chance)))


def moved(crops: Tensor, chance: torch.Generator) -> Tensor:
    """Smeared along one direction, level or upright or aslant."""
    size = crops.shape[-1]
    length = float(_between(1, 3, 10, chance)) * size / 56
    angle = float(_between(1, -0.6, 0.6, chance)) + (math.pi / 2 if float(_between(1, 0, 1, chance)) < 0.3 else 0.0)
    steps = torch.linspace(-0.5, 0.5, 7, device=crops.device) * length * 2 / size
    still = torch.eye(2, 3, device=crops.device)[None].repeat(len(crops), 1, 1)
    total = torch.zeros_like(crops)
    for step in steps.tolist():
        at = still.clone()
        at[:, 0, 2], at[:, 1, 2] = step * math.cos(angle), step * math.sin(angle)
        grid = functional.affine_grid(at, list(crops.shape), align_corners=False)
        total += functional.grid_sample(crops, grid, padding_mode="border", align_corners=False)
    return total / len(steps)


def _smeared(crops: Tensor, across: float, down: float) -> Tensor:
    for deviation, axis in ((across, 3), (down, 2)):
        reach = math.ceil(2.5 * deviation)
        taps = torch.exp(-(torch.arange(-reach, reach + 1, device=crops.device) ** 2) / (2 * deviation**2))
        kernel = (taps / taps.sum()).reshape((1, 1, 1, -1) if axis == 3 else (1, 1, -1, 1))
        pad = (reach, reach, 0, 0) if axis == 3 else (0, 0, reach, reach)
        crops = functional.conv2d(functional.pad(crops, pad, mode="replicate"), kernel)
    return crops


def coded(crops: Tensor, chance: torch.Generator) -> Tensor:
    """Compressed badly."""
    return compress(crops, _between(len(crops), 1, 4, chance).flatten())


def noisy(crops: Tensor, chance: torch.Generator) -> Tensor:
    """Noise of a dark room, of fine or coarser grain."""
    noise = _normal(crops, chance)
    if float(_between(1, 0, 1, chance)) < 0.4:
        noise = _smeared(noise, 0.7, 0.7) * 2
    return crops + noise * _between(len(crops), 10, 40, chance)


def too_bright(crops: Tensor, chance: torch.Generator) -> Tensor:
    """More light than the sensor takes."""
    return crops * _between(len(crops), 1.2, 2.2, chance) + _between(len(crops), 0, 60, chance)


def near_infrared(crops: Tensor, chance: torch.Generator) -> Tensor:
    """Skin bright and even, a lamp beside the lens, dark corners."""
    count, (x, y) = len(crops), _axes(crops)
    smooth = _smeared(crops, 5.0, 5.0)
    mean = smooth.mean((2, 3), keepdim=True)
    kept, fine = _between(count, 0.2, 0.7, chance), _between(count, 0.7, 1.0, chance)
    even = (mean + kept * (smooth - mean) + fine * (crops - smooth)).clamp(1, 255)
    toned = 255 * (even / 255) ** _between(count, 0.5, 0.9, chance)
    away = (x - _between(count, 0.4, 0.6, chance)).square() + (y - _between(count, 0.45, 0.7, chance)).square()
    lamp = _between(count, 0.15, 0.5, chance) + 0.85 * torch.exp(-away / _between(count, 0.1, 0.35, chance))
    return toned * lamp + _normal(crops, chance) * _between(count, 0, 8, chance)


def half_shadow(crops: Tensor, chance: torch.Generator) -> Tensor:
    """One side of the face in shadow, the edge upright or aslant, hard or soft."""
    count, (x, y) = len(crops), _axes(crops)
    slope, edge = _between(count, -0.5, 0.5, chance), _between(count, 0.01, 0.12, chance)
    side = torch.sign(_between(count, -1, 1, chance))
    lit = torch.sigmoid(side * (x - 0.5 + slope * (y - 0.5) - _between(count, -0.12, 0.12, chance)) / edge)
    rest = _between(count, 0.05, 0.5, chance)
    return crops * (rest + (1 - rest) * lit)


def small(crops: Tensor, chance: torch.Generator) -> Tensor:
    """A face of few pixels enlarged; one size for the batch."""
    size = crops.shape[-1]
    few = int(_between(1, 0.28, 0.6, chance) * size)
    less = functional.interpolate(crops, size=(few, few), mode="bilinear", antialias=True)
    return functional.interpolate(less, size=(size, size), mode="bilinear")


KINDS = (
    glasses, glasses, mask, mask, hand, out_of_focus, moved, coded, noisy, too_bright, near_infrared, half_shadow,
    small,
)  # fmt: skip
"""In equal parts; what is worn twice, for it costs most."""


def spoil(crops: Tensor, share: float, chance: torch.Generator) -> Tensor:
    """Crops some of which suffer one fault each.

    Args:
        crops: ``(B, 1, S, S)`` float in [0, 255], S a multiple of 8.
        share: How many, [0, 1].
        chance: Source of chance.

    Returns:
        ``(B, 1, S, S)`` float in [0, 255]; new where anything changed.
    """
    drawn = torch.rand(len(crops), generator=chance, device=chance.device) / max(share, 1e-9) * len(KINDS)
    spoilt = crops.clone()
    for kind, change in enumerate(KINDS):
        rows = torch.nonzero((drawn >= kind) & (drawn < kind + 1))[:, 0]
        if len(rows):
            spoilt[rows] = change(crops[rows], chance)
    return spoilt.clamp(0, 255)
