"""One run of the encoder on a handful of drawn faces: exact resume, schedule, rates, precision, start and teachers."""

from __future__ import annotations

import itertools
import shutil
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from engine.settings import SettingsError
from tests.train.drawn_stills import ONE, TINY, TINY_SEPARABLE, drawn_stills, losses_of, short, trainer
from train.default_model import stage as stage_module
from train.default_model.stage import Stage, train_stage
from train.default_model.weights import read_run
from train.models.compact.grow import GrowError
from train.models.compact.pretrained import PretrainedError
from train.training import distributed, loop
from train.training.checkpoint import CheckpointError, load_tensors


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_resumed_run_ends_where_an_unbroken_one_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, optimizer: str
) -> None:
    config = short("loop.epochs=3", "stills.sizes=40,48", f"optim.name={optimizer}", "optim.clip_norm=5")
    losses = losses_of(trainer(tmp_path / "whole", config))
    broken = trainer(tmp_path / "broken", config)
    # Stopped in the second epoch: what was done of it is lost, for its chance runs through it.
    monkeypatch.setattr(broken, "on_step", lambda done: setattr(broken, "_stop", done == 6))
    assert losses_of(broken) == losses[:6]
    assert broken.interrupted
    resumed = trainer(tmp_path / "broken", config)
    resumed.resume()
    assert losses_of(resumed) == losses[4:]
    whole, again = (read_run(tmp_path / name) for name in ("whole", "broken"))
    assert whole.identity["sha256"] == again.identity["sha256"]
    assert again.record["epochs"] == 3


def test_all_processes_compute_in_the_precision_that_one_trial_chose(monkeypatch: pytest.MonkeyPatch) -> None:
    for fast, wanted, chosen in ((True, "auto", "bf16"), (False, "auto", "fp32"), (True, "fp32", "fp32")):
        monkeypatch.setattr(distributed, "fast_bfloat16", lambda fast=fast: fast)
        assert ONE.precision(wanted) == chosen
    assert isinstance(distributed.fast_bfloat16(), bool)


def test_a_resumed_run_keeps_the_precision_it_began_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = short("loop.precision=auto", "residual.widths=8,8")
    monkeypatch.setattr(distributed, "fast_bfloat16", lambda: True)
    trainer(tmp_path, config).fit()
    monkeypatch.setattr(distributed, "fast_bfloat16", lambda: False)
    resumed = trainer(tmp_path, config)
    assert resumed.precision == "fp32"
    resumed.resume()
    assert resumed.precision == "bf16"


def test_a_time_budget_ends_the_run_at_its_last_rate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A second passes whenever somebody looks.
    ticks = itertools.count()
    monkeypatch.setattr(loop, "time", SimpleNamespace(monotonic=lambda: float(next(ticks))))
    config = short("loop.epochs=50", "loop.minutes=0.1")
    made = trainer(tmp_path, config)
    losses = losses_of(made)
    assert len(losses) == 4
    assert (made.share, made.progress.epoch) == (1.0, 1)
    assert made.optimizer.param_groups[0]["lr"] == pytest.approx(0, abs=1e-9)
    resumed = trainer(tmp_path, config)
    resumed.resume()
    assert losses_of(resumed) == []


def test_new_layers_of_the_teacher_learn_faster_than_those_that_know_faces(tmp_path: Path) -> None:
    made = trainer(tmp_path, short("stills.sizes=[40]", name="teacher"))
    rates = {
        name: group["base_lr"]
        for group in made.optimizer.param_groups
        for name, parameter in made.model.named_parameters()
        if any(parameter is one for one in group["params"])
    }
    assert len(rates) == len(list(made.model.parameters()))
    known = {name for name in rates if name.startswith(("encoder.stem", "encoder.blocks."))}
    assert {rates[name] for name in known} == {6e-4}
    assert {rate for name, rate in rates.items() if name not in known} == {1.5e-3}
    assert {"encoder.stem_norm.bias", "encoder.blocks.1.norm2.bias"} <= known


def test_a_run_goes_on_from_another_and_says_so(tmp_path: Path) -> None:
    first = trainer(tmp_path / "first", short())
    first.fit()
    second = trainer(tmp_path / "second", short("residual.depths=2,3"), start=tmp_path / "first")
    crops = torch.rand(2, 1, 40, 40) * 255
    begun = read_run(tmp_path / "first")
    torch.testing.assert_close(second.model.eval()(crops), begun.classifier()(crops))
    second.fit()
    assert read_run(tmp_path / "second").record["start"] == begun.identity


def test_weights_hold_averages_of_norms_statistics_too(tmp_path: Path) -> None:
    made = trainer(tmp_path, short("loop.epochs=2"))
    made.fit()
    name = "encoder.blocks.0.norm1.running_mean"
    kept = read_run(tmp_path).weights
    assert not torch.equal(kept[name], made.model.state_dict()[name])
    assert kept["encoder.blocks.0.norm1.num_batches_tracked"] == 8


def test_a_run_says_who_taught_it(tmp_path: Path) -> None:
    trainer(tmp_path / "teacher", short("encoder=separable")).fit()
    record = read_run(tmp_path / "teacher").record
    assert record["shape"] == {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(TINY_SEPARABLE).items()}
    trainer(tmp_path / "out", short(), teachers=(tmp_path / "teacher",)).fit()
    (said,) = read_run(tmp_path / "out").record["teachers"]
    assert said == read_run(tmp_path / "teacher").identity


def test_held_out_stills_are_judged_every_so_often_and_at_last(tmp_path: Path) -> None:
    made = trainer(tmp_path, short("loop.epochs=5", "stills.validation=0.4"), drawn_stills(60))
    history = made.fit().history
    assert ["war" in row for row in history] == [False, False, True, False, True]


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="none/last"):
        trainer(tmp_path, short(), teachers=(tmp_path / "none",))
    with pytest.raises(CheckpointError, match="none/last"):
        trainer(tmp_path, short(), start=tmp_path / "none")
    trainer(tmp_path / "wide", short("residual.widths=8,24")).fit()
    with pytest.raises(GrowError, match="no counterpart: start from equal widths"):
        trainer(tmp_path, short(), start=tmp_path / "wide")
    with pytest.raises(PretrainedError, match="fit encoder = separable alone"):
        trainer(tmp_path, short(), pretrained=tmp_path)


@pytest.mark.parametrize(
    ("more", "remedy"),
    [
        (("distil.replay=2", "stills.sizes=40,48"), r"stills.sizes = \[40\]"),
        (("distil.replay=9",), "1 to 8"),
        (("loop.compiled=true",), "apt install g"),
        (("loop.cache_features=true",), "for clips"),
    ],
    ids=["replay of two sizes", "replay of nothing", "no compiler", "for clips alone"],
)
def test_settings_that_cannot_be_met_are_refused_before_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: tuple[str, ...], remedy: str
) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(SettingsError, match=remedy):
        trainer(tmp_path, short(*more))
    assert not any(tmp_path.iterdir())


def test_another_configuration_is_not_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage_module, "load_split", lambda *_: drawn_stills())
    stage = Stage(short(), tmp_path, tmp_path, tmp_path / "run", quiet=True)
    assert train_stage(ONE, stage)
    before = (tmp_path / "run" / "last.safetensors").read_bytes()
    assert train_stage(ONE, stage)
    assert (tmp_path / "run" / "last.safetensors").read_bytes() == before
    other = Stage(short("residual.dropout=0"), tmp_path, tmp_path, tmp_path / "run", quiet=True)
    with pytest.raises(CheckpointError, match=r"residual.dropout was 0.1"):
        train_stage(ONE, other)


def test_a_shape_is_what_the_settings_say() -> None:
    assert short().shape == TINY
    assert short("encoder=separable").shape == TINY_SEPARABLE
    assert short("residual.dropout=0", "residual.drop_path=0").shape == TINY.__class__(
        **{**asdict(TINY), "dropout": 0.0, "drop_path": 0.0}
    )


@pytest.mark.slow
def test_a_compiled_step_learns_what_a_plain_one_does(tmp_path: Path) -> None:
    if shutil.which("g++") is None:
        pytest.skip("no C++ compiler (g++) to compile a step with")
    plain, compiled = (
        load_tensors(tmp_path / name / "last.safetensors")[0]
        for name in ("false", "true")
        if trainer(tmp_path / name, short(f"loop.compiled={name}", "residual.drop_path=0", "residual.dropout=0")).fit()
    )
    assert plain.keys() == compiled.keys()
    for name, value in plain.items():
        torch.testing.assert_close(compiled[name], value, rtol=1e-2, atol=1e-3)


def test_statistics_that_are_kept_stay_while_weights_are_trained(tmp_path: Path) -> None:
    trainer(tmp_path / "start", short()).fit()
    for keep in (True, False):
        more = trainer(tmp_path / str(keep), short(f"keep_statistics={str(keep).lower()}"), start=tmp_path / "start")
        more.fit()
        old, new = (read_run(tmp_path / name).weights for name in ("start", str(keep)))
        same = {name for name in old if torch.equal(old[name], new[name])}
        statistics = {name for name in old if name.endswith(("running_mean", "running_var"))}
        assert (statistics <= same) is keep
        assert "encoder.project.weight" not in same
