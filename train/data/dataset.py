"""Clips as training and evaluation samples: frames chosen, augmented, stacked, batched.

Every random choice of a sample comes from (seed, epoch, index), so a run does not depend on the number of workers,
processes or on where it was resumed.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from engine.spec import ModelSpec
from train import sampling
from train.augment import IDENTITY, AugmentSettings, Frames, draw_transform
from train.data.frames import read_frames
from train.data.record import DataError
from train.data.sources import CountedClip
from train.data.synthetic import SyntheticClips


class Source(Protocol):
    """A sequence of labelled clips whose frames can be read by number."""

    def __len__(self) -> int:
        """Number of clips."""

    def name(self, index: int) -> str:
        """The clip's name."""

    def label(self, index: int) -> str:
        """The clip's class."""

    def group(self, index: int) -> str:
        """Subject or movie, or ``""``."""

    def frame_count(self, index: int) -> int:
        """n of the clip."""

    def truth(self, index: int) -> np.ndarray | None:
        """``(n,)`` bool where known and localisable."""

    def frames(self, index: int, indices: Sequence[int]) -> list[Frames]:
        """Images ``(H, W, 3)`` uint8 RGB."""


class DiskSource:
    """Counted clips on the disk."""

    def __init__(self, clips: Sequence[CountedClip]) -> None:
        self._clips = list(clips)

    def __len__(self) -> int:
        return len(self._clips)

    def name(self, index: int) -> str:
        """The clip's name."""
        return self._clips[index].clip.name

    def label(self, index: int) -> str:
        """The clip's class."""
        return self._clips[index].clip.label

    def group(self, index: int) -> str:
        """Subject or movie, or ``""``."""
        return self._clips[index].clip.group

    def frame_count(self, index: int) -> int:
        """Frames on the disk."""
        return self._clips[index].frames

    def truth(self, index: int) -> np.ndarray | None:
        """``(n,)`` bool where the set states it."""
        truth = self._clips[index].clip.truth
        return None if truth is None else np.array(truth, bool)

    def frames(self, index: int, indices: Sequence[int]) -> list[Frames]:
        """Read frames.

        Raises:
            DataError: If a frame has become unreadable since it was counted.
        """
        return read_frames(self._clips[index].clip, indices)


class SyntheticSource:
    """Synthetic clips, drawn once and kept."""

    def __init__(self, clips: SyntheticClips) -> None:
        self._clips = [clips[i] for i in range(len(clips))]

    def __len__(self) -> int:
        return len(self._clips)

    def name(self, index: int) -> str:
        """The clip's name."""
        return self._clips[index].name

    def label(self, index: int) -> str:
        """The clip's class."""
        return self._clips[index].label

    def group(self, index: int) -> str:
        """The identity."""
        return self._clips[index].group

    def frame_count(self, index: int) -> int:
        """Frames of the clip."""
        return len(self._clips[index].frames)

    def truth(self, index: int) -> np.ndarray | None:
        """``(n,)`` bool, None where noise cannot be told from truth."""
        clip = self._clips[index]
        return clip.truth if clip.localisable else None

    def frames(self, index: int, indices: Sequence[int]) -> list[Frames]:
        """Frames by number."""
        return [self._clips[index].frames[i] for i in indices]


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
        foreign = sorted({source.label(i) for i in range(len(source))} - set(self.labels))
        if foreign:
            raise DataError(f"clips of class {', '.join(foreign)} but the model knows only {', '.join(self.labels)}")
        self.targets = np.array([self.labels.index(source.label(i)) for i in range(len(source))], np.int64)

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, packed: int) -> Sample:
        epoch, index = unpack(packed)
        rng = np.random.default_rng([self.seed, epoch, index])
        chosen = self._choose(index, rng)
        images = self.source.frames(index, chosen.tolist())
        transform = IDENTITY if self.augment is None else draw_transform(self.augment, rng)
        crops = transform(images, self.spec.crop.size_px)
        known = self.source.truth(index)
        truth = np.full(len(chosen), -1, np.float32) if known is None else known[chosen].astype(np.float32)
        return Sample(torch.from_numpy(crops), int(self.targets[index]), index, torch.from_numpy(truth))

    def _choose(self, index: int, rng: np.random.Generator) -> sampling.Indices:
        count, unit, window = self.source.frame_count(index), self.spec.unit, self.spec.window
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


class StepSampler(Sampler[list[int]]):
    """Micro-batches of one process, from any step of any epoch on.

    The order of an epoch is one permutation (or, with weights, one draw with replacement) of (seed, epoch), the same
    in all processes. A step takes `batch` clips of it; micro-batch m of process r takes its share of them. So a step sees
    the same clips on any number of processes. A last step that would be short is left out: its clips come at another
    place of the next epoch's order. A set smaller than one step is repeated.

    Args:
        size: Number of clips.
        batch: Clips per optimizer step over all processes and micro-batches.
        accumulate: Micro-batches per step.
        rank: This process.
        world: Number of processes.
        seed: Of the order.
        weights: ``(size,)`` probability weights, or None for each clip once.

    Raises:
        DataError: If the batch cannot be dealt evenly.
    """

    def __init__(
        self,
        size: int,
        batch: int,
        accumulate: int = 1,
        rank: int = 0,
        world: int = 1,
        seed: int = 0,
        weights: np.ndarray | None = None,
    ) -> None:
        if batch % (accumulate * world):
            raise DataError(
                f"a batch of {batch} cannot be dealt to {world} processes in {accumulate} parts: "
                f"choose a multiple of {accumulate * world}"
            )
        self.size, self.batch, self.accumulate, self.rank, self.world, self.seed = (
            size, batch, accumulate, rank, world, seed,
        )  # fmt: skip
        self.weights = None if weights is None else weights / weights.sum()
        self.epoch, self.first_step = 0, 0

    @property
    def steps(self) -> int:
        """Optimizer steps per epoch."""
        return max(1, self.size // self.batch)

    def start(self, epoch: int, step: int = 0) -> None:
        """Position before the given step of the given epoch."""
        self.epoch, self.first_step = epoch, step

    def __len__(self) -> int:
        return (self.steps - self.first_step) * self.accumulate

    def __iter__(self) -> Iterator[list[int]]:
        rng = np.random.default_rng([self.seed, 1, self.epoch])
        order = (
            rng.permutation(self.size)
            if self.weights is None
            else rng.choice(self.size, self.size, replace=True, p=self.weights)
        )
        order = np.resize(order, max(self.size, self.batch))
        micro = self.batch // (self.accumulate * self.world)
        for step in range(self.first_step, self.steps):
            clips = order[step * self.batch : (step + 1) * self.batch].reshape(self.accumulate, self.world, micro)
            for part in clips[:, self.rank]:
                yield [pack(self.epoch, int(i)) for i in part]


def balanced_weights(targets: np.ndarray, classes: int, power: float) -> np.ndarray:
    """Sampling weights that lift rare classes.

    Args:
        targets: ``(n,)`` class numbers.
        classes: C.
        power: 0 leaves the distribution, 1 makes classes equally frequent.

    Returns:
        ``(n,)`` weights.
    """
    counts = np.maximum(np.bincount(targets, minlength=classes), 1)
    return np.asarray(counts[targets] ** -float(power), np.float64)


def evaluation_loader(
    dataset: Dataset[Sample], batch: int, workers: int = 0, pin: bool = False, rank: int = 0, world: int = 1
) -> DataLoader[Sample]:
    """A loader over one process's share of all clips, in order; the shares are disjoint and cover every clip."""
    share = range(rank, len(dataset), world)  # type: ignore[arg-type]
    return DataLoader(
        dataset, batch, sampler=list(share), num_workers=workers, collate_fn=collate, pin_memory=pin,
        worker_init_fn=quiet_worker,
    )  # fmt: skip


def training_loader(
    dataset: Dataset[Sample], sampler: StepSampler, workers: int = 0, pin: bool = False
) -> DataLoader[Sample]:
    """A loader that follows a step sampler."""
    return DataLoader(
        dataset, batch_sampler=sampler, num_workers=workers, collate_fn=collate, pin_memory=pin,
        worker_init_fn=quiet_worker,
    )  # fmt: skip


def quiet_worker(worker: int) -> None:
    """Set up a loader process: one thread, and Ctrl-C is the main process's business."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
