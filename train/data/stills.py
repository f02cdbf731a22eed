"""FER+ stills as a data set: votes as soft targets, how often each still is drawn, and batches of disturbed crops.

Crops are disturbed on whole batches where the model is, by chance that runs through an epoch: so a run is taken up at
the beginning of an epoch, never within it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.spec import CropGeometry
from train.data.augment.still import AugmentConfig, augment, crop_matrices, render
from train.data.layouts.ferplus import Stills
from train.settings import StillSettings


def sampling_weights(
    targets: NDArray[np.float32],
    power: float,
    original: NDArray[np.int64] | None = None,
    original_share: float = 0.0,
    certain: NDArray[np.float32] | None = None,
) -> NDArray[np.float64]:
    """Weight of each still: the rarity of the classes that its votes name.

    Args:
        targets: ``(N, C)`` soft targets.
        power: 0 to 1.
        original: ``(N,)`` class of another labelling, which counts with ``original_share`` beside the targets.
        original_share: 0 to 1.
        certain: ``(N,)`` factor on each weight, such as the share of votes that named an emotion at all.

    Returns:
        ``(N,)`` weights of mean 1.
    """
    rarity = (targets.mean(0).max() / np.maximum(targets.mean(0), 1e-9)) ** power
    named = targets.astype(np.float64)
    if original is not None:
        named = named * (1 - original_share) + np.eye(targets.shape[1])[original] * original_share
    weights = named @ rarity
    if certain is not None:
        weights = weights * certain
    return np.asarray(weights / weights.mean(), np.float64)


def without_slips(votes: NDArray[np.float32], slips: int) -> NDArray[np.float32]:
    """Votes without the classes that hardly anyone named; a still that would lose all its votes keeps them.

    Args:
        votes: ``(N, C)`` counts.
        slips: Counts up to this one are dropped; 0 drops none.

    Returns:
        ``(N, C)`` counts.
    """
    kept = np.where(votes <= slips, 0, votes)
    return np.asarray(np.where(kept.sum(1, keepdims=True) > 0, kept, votes), np.float32)


@dataclass(frozen=True)
class Rows:
    """One process's share of a step's stills, with the chance of the epoch.

    Attributes:
        rows: ``(B,)`` int64 rows of the data set.
        shared: Generator that stands alike in all processes.
        own: This process's generator, on its device.
    """

    rows: Tensor
    shared: torch.Generator
    own: torch.Generator


class StillBatches:
    """Training stills, dealt to processes step by step and cut into crops.

    Args:
        stills: Stills to train on.
        settings: How they are shown.
        geometry: Template of the aligned crop; its size is that of undisturbed crops.
        seed: Of order, disturbance and the model's own chance.
        batch: Crops per step over all processes.
        device: Where crops are made.
        rank: This process.
        world: How many processes.
    """

    exact = False
    """Its chance runs through an epoch, so that none can be taken up in its middle."""

    def __init__(
        self,
        stills: Stills,
        settings: StillSettings,
        geometry: CropGeometry,
        seed: int,
        batch: int,
        device: torch.device,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self.settings, self.geometry, self.device = settings, geometry, device
        self.seed, self.batch, self.rank, self.world = seed, batch, rank, world
        votes = without_slips(stills.seven, settings.slips)
        kept = votes.sum(1) > 0
        self.targets = torch.from_numpy(votes[kept] / votes[kept].sum(1, keepdims=True))
        self.grey = torch.from_numpy(stills.grey[kept])
        self.matrices = torch.from_numpy(crop_matrices(stills.points[kept], geometry))
        mean = np.median(stills.points[stills.found], axis=0)[None].astype(np.float32)
        self.mean_matrix = torch.from_numpy(crop_matrices(mean, geometry))[0].to(device)
        certain = votes[kept].sum(1) / np.maximum(stills.votes[kept].sum(1), 1)
        weights = sampling_weights(
            self.targets.numpy(), settings.rare, stills.original[kept], settings.original, certain.astype(np.float32)
        )
        self.weights = torch.from_numpy(weights)
        self._disturbed = AugmentConfig()
        self._settled = self._disturbed.settled(0.5)
        self._epoch = 0

    @property
    def local(self) -> int:
        """Crops per step of this process."""
        return self.batch // self.world

    @property
    def steps(self) -> int:
        """Optimizer steps per epoch."""
        return max(len(self.weights) // self.batch, 1)

    def start(self, epoch: int, step: int = 0) -> None:
        """Position before an epoch, whose beginning is the only place to start from."""
        if step:
            raise ValueError(f"an epoch of stills has no way into its middle, step {step}")
        self._epoch = epoch

    def __iter__(self) -> Iterator[Rows]:
        seed = self.seed * 100_003 + self._epoch
        shared = torch.Generator().manual_seed(seed)
        own = torch.Generator(self.device).manual_seed(seed * 64 + self.rank)
        torch.manual_seed(seed * 64 + self.rank)
        order = torch.multinomial(self.weights, len(self.weights), replacement=True, generator=shared)
        for step in range(self.steps):
            yield Rows(order[step * self.batch + self.rank * self.local :][: self.local], shared, own)

    def settles(self, share: float) -> bool:
        """Whether so much of the run is done that the rest of it is calm."""
        return share >= 1 - self.settings.settle

    def crops(self, rows: Tensor, share: float, chance: torch.Generator) -> Tensor:
        """Disturbed crops ``(B, 1, S, S)`` float in [0, 255], in the size of this share of the run, [0, 1]."""
        sizes = self.settings.sizes
        size = sizes[min(int(share * len(sizes)), len(sizes) - 1)]
        disturbance = self._settled if self.settles(share) else self._disturbed
        grey, matrices = self.grey[rows].to(self.device), self.matrices[rows].to(self.device)
        return augment(grey, matrices, self.mean_matrix, size, disturbance, chance)

    def plain(self, count: int) -> Tensor:
        """About so many undisturbed crops ``(B, 1, S, S)``, evenly picked."""
        rows = torch.arange(0, len(self.grey), max(len(self.grey) // count, 1))
        return render(self.grey[rows], self.matrices[rows], self.geometry.size_px)
