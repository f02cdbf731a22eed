"""The encoder's training loop on a handful of drawn faces: exact resume, schedule, weights, scores."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from train.data.layouts.ferplus import Stills, hold_out
from train.default_model import fit as fit_module
from train.default_model.run import FitConfig, Run, learning_rate
from train.models.compact.encoder import EncoderConfig
from train.training.targets import sampling_weights, without_slips

TINY = EncoderConfig(size_px=40, widths=(8, 16), depths=(1, 1), feature=16)
POINTS = np.array([[14.8, 18.6], [32.5, 18.3], [23.7, 29.7], [16.8, 36.6], [31.1, 36.3]], np.float32)


def drawn_stills(count: int = 32) -> Stills:
    rng = np.random.default_rng(0)
    votes = rng.integers(0, 6, (count, 10)).astype(np.float32)
    votes[:, 0] += 1
    return Stills(
        tuple(f"{i}.webp" for i in range(count)), rng.integers(0, 256, (count, 48, 48)).astype(np.uint8),
        np.repeat(POINTS[None], count, 0), np.ones(count, bool), votes, np.zeros(count, np.int64),
        np.arange(count) // 2, np.arange(count) % 2 == 0, "0" * 64,
    )  # fmt: skip


def _run(epochs: int, optimizer: str = "sgd") -> Run:
    torch.set_num_threads(1)
    config = FitConfig(
        epochs=epochs, batch=8, sizes=(40, 48), optimizer=optimizer, fresh=2.5, clip=5.0, precision="float32"
    )  # fmt: skip
    return Run(config, TINY, drawn_stills(), "cpu")


def test_all_processes_compute_in_the_precision_that_the_first_look_chose(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: list[list[str]] = []
    monkeypatch.setattr(fit_module, "load_split", lambda *_: drawn_stills())

    def start(command: list[str], _world: int) -> int:
        commands.append(command)
        return 0

    monkeypatch.setattr(fit_module, "_siblings", start)
    call = ["--data", str(tmp_path), "--out", str(tmp_path), "--device", "cpu", "--procs", "2"]
    for fast, more, wanted in (
        (True, [], "bfloat16"), (False, [], "float32"), (True, ["--precision", "float32"], "float32")
    ):  # fmt: skip
        monkeypatch.setattr(fit_module, "fast_bfloat16", lambda fast=fast: fast)
        assert fit_module.main([*call, *more]) == 0
        assert commands[-1][-2:] == ["--precision", wanted]


def test_a_resumed_run_keeps_the_precision_it_began_with(tmp_path: Path) -> None:
    shape = replace(TINY, widths=(8, 8))
    first = Run(FitConfig(batch=8, precision="bfloat16"), shape, drawn_stills(), "cpu")
    first.train_epoch()
    first.save(tmp_path, {})
    second = Run(FitConfig(batch=8, precision="float32"), shape, drawn_stills(), "cpu")
    second.resume(tmp_path)
    assert second.half


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_resumed_run_ends_where_an_unbroken_one_does(tmp_path: Path, optimizer: str) -> None:
    unbroken = _run(3, optimizer)
    rows = [unbroken.train_epoch() for _ in range(3)]
    broken = _run(3, optimizer)
    broken.train_epoch()
    broken.save(tmp_path, {"note": 1})
    resumed = _run(3, optimizer)
    assert resumed.resume(tmp_path)["note"] == 1
    assert resumed.epoch == 1
    again = [resumed.train_epoch() for _ in range(2)]
    assert [r["loss"] for r in again] == [r["loss"] for r in rows[1:]]
    for name, value in unbroken.average.items():
        assert torch.equal(value, resumed.average[name]), name


def test_there_is_nothing_to_resume_in_an_empty_folder(tmp_path: Path) -> None:
    assert _run(1).resume(tmp_path) == {}


def test_a_time_budget_ends_the_schedule() -> None:
    run = Run(FitConfig(epochs=50, minutes=1e-6, batch=8), TINY, drawn_stills(), "cpu")
    assert run.train_epoch()["progress"] == 1.0


def test_learning_rate_warms_up_and_ends_at_zero() -> None:
    rates = [learning_rate(p, 1.0) for p in np.linspace(0, 1, 101)]
    assert int(np.argmax(rates)) == 5
    assert rates[0] < 0.05
    assert rates[-1] == pytest.approx(0, abs=1e-9)


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
    stills = drawn_stills(4)
    votes = np.zeros((4, 10), np.float32)
    votes[0, 1] = 5  # happiness
    votes[1, [1, 3]] = 4  # a tie
    votes[2, 1], votes[2, 7] = 3, 6  # contempt leads
    votes[3, 9] = 10  # no face
    stills = Stills(**{**vars(stills), "votes": votes})
    assert stills.plurality.tolist() == [0, -1, -1, -1]
    assert stills.usable.tolist() == [True, False, False, False]


def test_new_layers_learn_faster_than_those_that_know_faces() -> None:
    run = _run(1)
    run.train_epoch()
    rates = {
        name: group["factor"]
        for group in run.optimizer.param_groups
        for name, parameter in run.model.named_parameters()
        if any(parameter is one for one in group["params"])
    }
    assert rates["encoder.stem.0.weight"] == rates["encoder.blocks.1.norm2.bias"] == 1
    assert rates["encoder.project.weight"] == rates["classify.bias"] == 2.5
    assert len(rates) == len(list(run.model.parameters()))


def test_missing_data_is_one_clear_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert fit_module.main(["--data", str(tmp_path), "--out", str(tmp_path / "run"), "--procs", "1"]) == 1
    error = capsys.readouterr().err.strip()
    assert "train.zip is missing" in error
    assert "\n" not in error
