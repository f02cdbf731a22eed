"""Stills as a data set: whose votes count, how often each is drawn, and what may be held out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from engine.spec import CropGeometry
from tests.train.drawn_stills import drawn_stills
from train.data.layouts.ferplus import hold_out
from train.data.stills import StillBatches, sampling_weights, without_slips
from train.settings import StillSettings


def _batches(world: int = 1, rank: int = 0) -> StillBatches:
    settings = StillSettings(sizes=(40, 48))
    return StillBatches(
        drawn_stills(), settings, CropGeometry(size_px=40), 1, 8, torch.device("cpu"), rank=rank, world=world
    )


def test_rare_classes_are_drawn_more_often() -> None:
    targets = np.eye(7, dtype=np.float32)[[0] * 90 + [5] * 10]
    weights = sampling_weights(targets, 0.5)
    assert weights.mean() == pytest.approx(1)
    assert weights[-1] / weights[0] == pytest.approx(3)
    assert np.ptp(sampling_weights(targets, 0.0)) == pytest.approx(0)
    balanced = sampling_weights(targets, 1.0)
    assert balanced[:90].sum() == pytest.approx(balanced[90:].sum())


def test_single_votes_are_slips_unless_there_is_nothing_else() -> None:
    votes = np.array([[6, 1, 2, 0], [1, 1, 0, 0], [0, 0, 9, 1]], np.float32)
    assert without_slips(votes, 1).tolist() == [[6, 0, 2, 0], [1, 1, 0, 0], [0, 0, 9, 0]]
    assert (without_slips(votes, 0) == votes).all()


def test_validation_keeps_twins_together() -> None:
    stills = drawn_stills(2000)
    held = hold_out(stills, 0.2)
    assert 0.15 < held.mean() < 0.25
    assert all(len(set(held[stills.cluster == c])) == 1 for c in np.unique(stills.cluster))
    assert (held == hold_out(stills, 0.2)).all()


def test_plurality_must_beat_every_column() -> None:
    votes = np.zeros((4, 10), np.float32)
    votes[0, 1] = 5  # happiness
    votes[1, [1, 3]] = 4  # a tie
    votes[2, 1], votes[2, 7] = 3, 6  # contempt leads
    votes[3, 9] = 10  # no face
    stills = replace(drawn_stills(4), votes=votes)
    assert stills.plurality.tolist() == [0, -1, -1, -1]
    assert stills.usable.tolist() == [True, False, False, False]


def test_processes_share_out_the_steps_of_one() -> None:
    whole, parts = _batches(), [_batches(2, rank) for rank in range(2)]
    for batches in (whole, *parts):
        batches.start(3)
    for one, first, second in zip(whole, *parts, strict=True):
        assert torch.equal(one.rows, torch.cat([first.rows, second.rows]))
        assert torch.equal(first.shared.get_state(), second.shared.get_state())
        assert not torch.equal(first.own.get_state(), second.own.get_state())


def test_crops_grow_with_the_run_and_calm_down_at_its_end() -> None:
    batches = _batches()
    rows, chance = torch.arange(4), torch.Generator().manual_seed(0)
    assert [batches.crops(rows, share, chance).shape[-1] for share in (0.0, 0.49, 0.5, 1.0)] == [40, 40, 48, 48]
    assert not batches.settles(0.84)
    assert batches.settles(0.85)


def test_an_epoch_of_stills_is_not_taken_up_in_its_middle() -> None:
    with pytest.raises(ValueError, match="step 2"):
        _batches().start(1, 2)
