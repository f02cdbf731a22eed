"""Clips as training and evaluation samples: frames chosen, augmented, stacked, batched.

Every random choice of a sample comes from (seed, epoch, index), so a run does not depend on the number of workers,
processes or on where it was resumed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from engine.spec import ModelSpec
from train.data import sampling
from train.data.augment.sequence import IDENTITY, draw_transform
from train.data.record import DataError
from train.data.source import Source
from train.settings import AugmentSettings


@dataclass(frozen=True)
class Sample:
    """One window.

    Attributes:
        inputs: ``(T, S, S, 3)`` uint8 RGB, or ``(W, F)`` float32 cached features.
        target: Class number.
        index: Number within the data set.
        truth: ``(T,)`` float32: 1 shows the expression, 0 does not, -1 unknown.
    """

    inputs: Tensor
    target: int
    index: int
    truth: Tensor


@dataclass
class Batch:
    """A batch of windows, pinned where the loader pins.

    Attributes:
        inputs: ``(B, T, S, S, 3)`` uint8 RGB, or ``(B, W, F)`` float32 cached features.
        target: ``(B,)`` int64.
        index: ``(B,)`` int64.
        truth: ``(B, T)`` float32, as in :class:`Sample`.
    """

    inputs: Tensor
    target: Tensor
    index: Tensor
    truth: Tensor

    def pin_memory(self) -> Batch:
        """Page-locked copies, for asynchronous transfer."""
        return Batch(*(t.pin_memory() for t in (self.inputs, self.target, self.index, self.truth)))

    def to(self, device: torch.device) -> Batch:
        """The batch on a device."""
        return Batch(*(t.to(device, non_blocking=True) for t in (self.inputs, self.target, self.index, self.truth)))


def collate(samples: Sequence[Sample]) -> Batch:
    """Stack samples to a batch."""
    return Batch(
        inputs=torch.stack([s.inputs for s in samples]),
        target=torch.tensor([s.target for s in samples]),
        index=torch.tensor([s.index for s in samples]),
        truth=torch.stack([s.truth for s in samples]),
    )


class ClipDataset(Dataset[Sample]):
    """Windows of clips.

    Indexed by ``(epoch, index)`` packed into one number (:func:`pack`), so that workers need no notice of the epoch.

    Args:
        source: The clips.
        labels: Classes in the order of the logits.
        spec: For unit, window and crop size.
        seed: Of all draws.
        augment: Training: random frames and transforms. None: centre frames, untouched.
        prefix: Training: probability that only the beginning of the window is kept, filled at the front.
        padding: One of `sampling.PADDINGS`.

    Raises:
        DataError: If a clip's class is not among the labels.
    """

    def __init__(
        self,
        source: Source,
        labels: Sequence[str],
        spec: ModelSpec,
        seed: int = 0,
        augment: AugmentSettings | None = None,
        prefix: float = 0.0,
        padding: str = "oldest-first",
    ) -> None:
        self.source, self.spec, self.seed = source, spec, seed
        self.labels = tuple(labels)
        self.augment, self.prefix, self.padding = augment, prefix, padding
        foreign = sorted({clip.label for clip in source.clips} - set(self.labels))
        if foreign:
            raise DataError(f"clips of class {', '.join(foreign)} but the model knows only {', '.join(self.labels)}")
        self.targets = np.array([self.labels.index(clip.label) for clip in source.clips], np.int64)

    def __len__(self) -> int:
        return len(self.source.clips)

    def __getitem__(self, packed: int) -> Sample:
        epoch, index = unpack(packed)
        rng = np.random.default_rng([self.seed, epoch, index])
        chosen = self._choose(index, rng)
        images = self.source.frames(index, chosen.tolist())
        transform = IDENTITY if self.augment is None else draw_transform(self.augment, rng)
        crops = transform(images, self.spec.crop.size_px)
        known = self.source.clips[index].truth
        truth = np.full(len(chosen), -1, np.float32) if known is None else known[chosen].astype(np.float32)
        return Sample(torch.from_numpy(crops), int(self.targets[index]), index, torch.from_numpy(truth))

    def _choose(self, index: int, rng: np.random.Generator) -> sampling.Indices:
        count, unit, window = self.source.clips[index].frames, self.spec.unit, self.spec.window
        if self.augment is None:
            return sampling.centre_indices(count, unit, window, self.padding)
        chosen = sampling.random_indices(count, unit, window, rng, self.padding)
        return sampling.prefix(chosen, unit, window, rng) if rng.random() < self.prefix else chosen


_EPOCH_STRIDE = 2**32


def pack(epoch: int, index: int) -> int:
    """One number for (epoch, index); the index is below 2**32."""
    return epoch * _EPOCH_STRIDE + index


def unpack(packed: int) -> tuple[int, int]:
    """Inverse of :func:`pack`; a plain index is epoch 0."""
    return divmod(packed, _EPOCH_STRIDE)
