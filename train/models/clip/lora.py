"""LoRA on the image transformer: low-rank updates beside frozen weights (Hu et al. 2022)."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from engine.settings import SettingsError
from train.models.clip.vision import VisionTransformer

MAX_SHARE = 0.04
"""Updates may add at most this share of the image transformer's parameters."""


class LoraLinear(nn.Module):
    """A frozen linear layer with a trained update of low rank: ``base(x) + scale * up(down(x))``.

    Args:
        base: The layer to update; frozen here.
        rank: Rank of the update.
        scale: Factor of the update.
    """

    def __init__(self, base: nn.Linear, rank: int, scale: float) -> None:
        super().__init__()
        self.base, self.scale = base.requires_grad_(False), scale
        self.down = nn.Parameter(base.weight.new_empty(rank, base.in_features))
        self.up = nn.Parameter(base.weight.new_zeros(base.out_features, rank))
        nn.init.normal_(self.down, std=base.in_features**-0.5)

    def forward(self, x: Tensor) -> Tensor:
        """``(..., in)`` to ``(..., out)``."""
        update = nn.functional.linear(nn.functional.linear(x, self.down), self.up)
        out: Tensor = self.base(x) + self.scale * update
        return out

    def merged(self) -> nn.Linear:
        """One plain linear layer that computes the same."""
        plain = copy.deepcopy(self.base)
        with torch.no_grad():
            plain.weight += (self.scale * (self.up.double() @ self.down.double())).to(plain.weight.dtype)
        return plain


def add_lora(vision: VisionTransformer, rank: int, alpha: float | None = None) -> None:
    """Put updates beside every linear layer of the image transformer's own layers and freeze the rest.

    Exchange modules are new to CLIP, so they stay as they are.

    Args:
        vision: The image transformer, changed in place.
        rank: Rank of the updates.
        alpha: Scale times rank; twice the rank if not given.

    Raises:
        SettingsError: If the updates exceed :data:`MAX_SHARE` of the transformer's parameters.
    """
    exchange = set(vision.exchange.parameters()) if vision.exchange is not None else set()
    own = [p for p in vision.parameters() if p not in exchange]
    limit = int(sum(p.numel() for p in own) * MAX_SHARE)
    for parameter in own:
        parameter.requires_grad_(False)
    added = 0
    for layer in vision.blocks:
        for parent, names in ((layer.attention, ("q", "k", "v", "out")), (layer.mlp, ("up", "down"))):
            for name in names:
                update = LoraLinear(getattr(parent, name), rank, (alpha or 2 * rank) / rank)
                added += update.down.numel() + update.up.numel()
                setattr(parent, name, update)
    if added > limit:
        raise SettingsError(
            f"lora_rank {rank} adds {added:,} parameters, more than 4 % of the image encoder ({limit:,})",
            "take a lower rank",
        )


def merge_lora(module: nn.Module) -> nn.Module:
    """A copy of a module with every update merged into its layer; the module itself if it has none."""
    if not any(isinstance(m, LoraLinear) for m in module.modules()):
        return module
    merged = copy.deepcopy(module)
    for parent in list(merged.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, LoraLinear):
                setattr(parent, name, child.merged())
    return merged
