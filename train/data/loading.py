"""In which order clips are loaded, and by whom: step sampler, class balance, loaders."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from train.data.dataset import Sample, collate, pack
from train.data.record import DataError


class StepSampler(Sampler[list[int]]):
    """Micro-batches of one process, from any step of any epoch on.

    The order of an epoch is one permutation (or, with weights, one draw with replacement) of (seed, epoch), the
    same in all processes. A step takes `batch` clips of it; micro-batch m of process r takes its share of them. So a
    step sees the same clips on any number of processes. A last step that would be short is left out: its clips come at
    another place of the next epoch's order. A set smaller than one step is repeated.

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

    exact = True
    """A clip's chance follows from the seed, the epoch and its number: an epoch can be taken up anywhere."""

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
                f"a batch of {batch} cannot be dealt to {world} processes in {accumulate} parts",
                f"choose a multiple of {accumulate * world}",
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
        dataset, batch, sampler=list(share), num_workers=most_workers(workers), collate_fn=collate, pin_memory=pin,
        worker_init_fn=quiet_worker,
    )  # fmt: skip


def training_loader(
    dataset: Dataset[Sample], sampler: StepSampler, workers: int = 0, pin: bool = False
) -> DataLoader[Sample]:
    """A loader that follows a step sampler."""
    return DataLoader(
        dataset, batch_sampler=sampler, num_workers=most_workers(workers), collate_fn=collate, pin_memory=pin,
        worker_init_fn=quiet_worker,
    )  # fmt: skip


def most_workers(wanted: int) -> int:
    """So many of the loader processes asked for as there are cores; PyTorch warns of more."""
    return min(wanted, len(os.sched_getaffinity(0)))


def quiet_worker(_worker: int) -> None:
    """Set up a loader process: one thread, and Ctrl-C is the main process's business."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
