"""Clips are dealt to processes without one lost or taken twice."""

import os

import numpy as np
import pytest

from train.data.dataset import unpack
from train.data.loading import StepSampler, most_workers
from train.data.record import DataError


@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_processes_share_an_epoch_without_duplicates(world: int, accumulate: int) -> None:
    if 6 % (accumulate * world):
        with pytest.raises(DataError, match="cannot be dealt"):
            StepSampler(30, 6, accumulate, 0, world)
        return
    dealt = []
    for rank in range(world):
        sampler = StepSampler(30, 6, accumulate, rank, world, seed=3)
        sampler.start(2)
        dealt.append([[unpack(clip) for clip in part] for part in sampler])
    seen = [index for parts in dealt for part in parts for _, index in part]
    assert sorted(seen) == list(range(30)), "each clip once, whoever takes it"
    assert {epoch for parts in dealt for part in parts for epoch, _ in part} == {2}
    # A step is the same clips on any number of processes.
    alone = StepSampler(30, 6, 1, seed=3)
    alone.start(2)
    steps = [{unpack(clip)[1] for clip in part} for part in alone]
    for step, wanted in enumerate(steps):
        parts = range(step * accumulate, (step + 1) * accumulate)
        assert {index for own in dealt for part in parts for _, index in own[part]} == wanted


def test_a_set_smaller_than_a_step_is_repeated() -> None:
    sampler = StepSampler(3, 8, seed=1)
    assert sampler.steps == 1
    (only,) = [[unpack(clip)[1] for clip in part] for part in sampler]
    assert np.bincount(only).tolist().count(0) == 0
    assert len(only) == 8


def test_no_more_loader_processes_than_cores() -> None:
    assert most_workers(10_000) == len(os.sched_getaffinity(0))
    assert most_workers(0) == 0
