"""Crops that teachers have answered, kept for a while: an answer costs a step of the learner, so it is used again."""

from __future__ import annotations

import torch
from torch import Tensor


class Replay:
    """A ring of crops with their targets, drawn from at random.

    A crop comes back mirrored half of the times, under the answer for the crop that was asked about: over many crops
    the learner meets the mean of the answers to both sides, which has a lower loss on new faces than either.

    Args:
        capacity: Crops kept; the oldest go first.
        size_px: Side of the crops, px.
        classes: C.
        device: Where they lie.
    """

    def __init__(self, capacity: int, size_px: int, classes: int, device: torch.device | str = "cpu") -> None:
        self.crops = torch.zeros(capacity, 1, size_px, size_px, dtype=torch.uint8, device=device)
        self.targets = torch.zeros(capacity, classes, device=device)
        self.count = 0
        self._next = 0

    def add(self, crops: Tensor, targets: Tensor) -> None:
        """Keep ``(B, 1, S, S)`` float crops in [0, 255], rounded to whole levels, and their ``(B, C)`` targets."""
        capacity = len(self.crops)
        rows = (self._next + torch.arange(len(crops), device=self.crops.device)) % capacity
        self.crops[rows] = crops.round().clamp(0, 255).to(torch.uint8)
        self.targets[rows] = targets
        self._next = (self._next + len(crops)) % capacity
        self.count = min(self.count + len(crops), capacity)

    def draw(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Random crops ``(B, 1, S, S)`` float, each mirrored or not, with their targets ``(B, C)``."""
        where = generator.device
        rows = torch.randint(self.count, (count,), generator=generator, device=where).to(self.crops.device)
        mirrored = (torch.rand(count, 1, 1, 1, generator=generator, device=where) < 0.5).to(self.crops.device)
        crops = self.crops[rows].float()
        return torch.where(mirrored, crops.flip(-1), crops), self.targets[rows]
