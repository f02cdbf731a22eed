"""Processes that are started here: they join, share a sum, and an error in one of them is everyone's end."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from engine.errors import DferError
from engine.settings import SettingsError
from tests.train.drawn_stills import drawn_stills, short
from train.default_model.stage import Stage, make_trainer
from train.default_model.weights import read_run
from train.training.checkpoint import CheckpointError
from train.training.distributed import Processes, choose_device, launch

CPU = torch.device("cpu")


def _train(mine: Processes, stage: Stage) -> tuple[float, int]:
    """Train; the sum of all weights over the processes, and the threads of this one."""
    trainer = make_trainer(stage, drawn_stills(), mine)
    trainer.fit()
    mine.wait()
    total = sum(float(value.double().sum()) for value in trainer.model.parameters())
    return float(mine.total(torch.tensor(total, dtype=torch.float64))) / total, torch.get_num_threads()


def _fail(mine: Processes, _task: str) -> None:
    if mine.rank == 1:
        raise CheckpointError("the disk is full", "free some space")
    mine.wait()


def _shares(mine: Processes, _task: str) -> dict[str, object]:
    """What two processes make of a validation part that cannot be dealt evenly, and what they agree on."""
    targets = torch.tensor([0, 1, 0, 1, 0, 2, 0])  # dealt in turn, the first process has no clip of 1 and 2
    share = targets[mine.rank :: mine.world]
    counts = mine.total(torch.bincount(share * 3 + share, minlength=9).reshape(3, 3).double())
    none = mine.total(torch.zeros(3, 3) if mine.rank else torch.eye(3))  # no clip at all for the second
    own = torch.full((2,), float(mine.rank + 1))
    mine.follow([own])
    return {
        "classes": sorted(set(share.tolist())),
        "counts": counts.diagonal().tolist(),
        "none": none.sum().item(),
        "alike": mine.alike("the same"),
        "different": mine.alike(f"process {mine.rank}"),
        "followed": mine.total(own).tolist(),
    }


def test_uneven_shares_a_class_on_one_side_and_what_processes_agree_on() -> None:
    found = launch(_shares, "", 2, CPU)
    assert found["classes"] == [0]
    assert found["counts"] == [4, 2, 1]
    assert found["none"] == 3
    assert (found["alike"], found["different"]) == (True, False)
    assert found["followed"] == [2, 2], "both have the first one's 1"


def test_processes_end_with_the_same_weights(tmp_path: Path) -> None:
    stage = Stage(short(), tmp_path, tmp_path, tmp_path / "run")
    ratio, threads = launch(_train, stage, 2, CPU)
    assert ratio == 2.0
    assert threads == max((os.cpu_count() or 1) // 2, 1)
    assert read_run(tmp_path / "run").record["world"] == 2


def test_one_that_fails_ends_them_all_with_its_own_words() -> None:
    with pytest.raises(DferError, match="the disk is full; free some space"):
        launch(_fail, "", 2, CPU)


def test_one_process_is_this_one() -> None:
    assert launch(lambda mine, task: (mine.world, task), "asked", 1, CPU) == (1, "asked")


def test_a_device_that_is_none_is_refused() -> None:
    assert choose_device("cpu") == CPU
    with pytest.raises(SettingsError, match="auto, cpu, cuda or cuda:N"):
        choose_device("tpu")
