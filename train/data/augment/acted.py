"""Calm faces made to frown, on whole batches of aligned crops: what FER+ shows rarely, and never on the way there.

A frown that is sad turns the mouth's corners down and lifts the inner brows; a scowl lowers brows and draws them
together. Crops are aligned, so a smooth field about the template's landmarks does it. As many of all crops are
warped at random, and keep what is said of them: a warp alone must not tell.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from engine.spec import SEVEN_CLASSES

_EYES_APART = 80 / 224
"""Of the crop's side, in the template."""
_SIDE = [[0.147, 0.768], [0.10, 0.275], [0.19, 0.25], [0.27, 0.28], [0.178, 0.335]]
_AT = torch.tensor([[0.5 + side * x, y] for side in (-1, 1) for x, y in _SIDE] + [[0.5, 0.772], [0.5, 0.93]])
"""Mouth corner, inner, middle and outer brow and upper lid, image left then right; middle of the mouth, chin."""
_REACH = torch.tensor([0.07, 0.055, 0.055, 0.055, 0.04] * 2 + [0.06, 0.08])
_SAD_MOUTH = torch.tensor([0.10, 0, 0, 0, 0] * 2 + [-0.03, -0.05])
_SAD_BROWS = torch.tensor([0, -0.13, -0.01, 0.04, 0.035] * 2 + [0.0, 0.0])
_SCOWL = torch.tensor([0.015, 0.17, 0.12, 0.02, 0.03] * 2 + [-0.01, -0.03])
_TOGETHER = torch.tensor([0, 0.07, 0.03, 0, 0, 0, -0.07, -0.03, 0, 0, 0, 0])
"""How far each moves at full strength, downwards; of a scowl sideways, too; of the distance between the eyes."""
_CALM = 0.7
_SURE = {"both": 0.85, "mouth": 0.55, "brows": 0.4, "scowl": 0.7}
"""What an act at full strength makes sure of its class: one of two signs is half an expression."""


def warped(crops: Tensor, moves: Tensor) -> Tensor:
    """Crops whose skin is moved at the template's landmarks.

    Args:
        crops: ``(B, 1, S, S)``.
        moves: ``(B, 12, 2)`` to the right and down, of the distance between the eyes.

    Returns:
        ``(B, 1, S, S)``.
    """
    size = crops.shape[-1]
    axis = (torch.arange(size, device=crops.device) + 0.5) / size
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    at, reach = _AT.to(crops.device), _REACH.to(crops.device)
    # Where a point ends up is where its content is asked for.
    ends = at + moves * _EYES_APART
    away = (x[None, None] - ends[..., 0, None, None]) ** 2 + (y[None, None] - ends[..., 1, None, None]) ** 2
    near = torch.exp(-away / (2 * reach[None, :, None, None] ** 2))
    # A sum that fades out: where several pull they are averaged, far from all of them nothing moves.
    field = torch.einsum("bkij,bkc->bijc", near, moves * _EYES_APART) / near.sum(1)[..., None].clamp_min(1.0)
    grid = torch.stack([x, y], -1)[None] - field
    return functional.grid_sample(
        crops, grid * 2 - 1, mode="bicubic", padding_mode="border", align_corners=False
    ).clamp(0, 255)


def act(crops: Tensor, said: Tensor, share: float, chance: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Crops some of which are made to frown.

    Args:
        crops: ``(B, 1, S, S)`` float in [0, 255].
        said: ``(B, C)`` what is known of each, :data:`~engine.spec.SEVEN_CLASSES`.
        share: How many of the calm ones frown, and how many of all are warped at random, [0, 0.5].
        chance: Source of chance.

    Returns:
        Crops; what is known of them now; ``(B,)`` bool, which of them are no longer what they were.
    """
    where, count = crops.device, len(crops)

    def draw(low: float = 0.0, high: float = 1.0) -> Tensor:
        return torch.rand(count, generator=chance, device=chance.device).to(where) * (high - low) + low

    kind = draw()
    acts = (kind < share) & (said[:, SEVEN_CLASSES.index("neutral")] > _CALM)
    strength, which = draw(0.25, 1.15), draw()
    scowls, mouth, brows = which < 0.35, which >= 0.35, (which < 0.65) | (which >= 0.85)
    mouth_only, brows_only = (which >= 0.65) & (which < 0.85), which >= 0.85
    mouth = mouth & ~brows_only
    down = torch.where(scowls[:, None], _SCOWL.to(where), mouth[:, None] * _SAD_MOUTH.to(where))
    down = down + (brows & ~scowls)[:, None] * _SAD_BROWS.to(where)
    aside = scowls[:, None] * _TOGETHER.to(where)
    moves = torch.stack([aside, down], -1) * strength[:, None, None]
    chances = torch.randn(count, len(_AT), 2, generator=chance, device=chance.device).to(where)
    at_random = (kind >= 1 - share) * draw(0, 0.06)
    moves = torch.where(acts[:, None, None], moves + 0.015 * chances, at_random[:, None, None] * chances)
    changed = moves.flatten(1).abs().sum(1) > 0
    result = crops.clone()
    if changed.any():
        result[changed] = warped(crops[changed], moves[changed])
    sure = torch.full_like(strength, _SURE["both"])
    for rows, name in ((scowls, "scowl"), (mouth_only, "mouth"), (brows_only, "brows")):
        sure[rows] = _SURE[name]
    # A hint of a frown is none.
    sure = torch.where(acts, sure * ((strength - 0.35) / 0.5).clamp(0, 1), 0)[:, None]
    shows = functional.one_hot(
        torch.where(scowls, SEVEN_CLASSES.index("anger"), SEVEN_CLASSES.index("sadness")), said.shape[1]
    )
    return result, torch.lerp(said, shows.to(said.dtype), sure), changed
