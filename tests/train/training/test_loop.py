"""One run, broken and unbroken, accumulated and not, averaged, early stopped."""

import dataclasses
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from engine.settings import Layer, SettingsError, load
from train.settings import RunConfig
from train.training.checkpoint import CheckpointError, load_tensors
from train.training.distributed import Processes
from train.training.fit import FitResult, fit, load_run
from train.training.loop import Trainer, training_mode

ONE = Processes(0, 1, torch.device("cpu"))
SMALL = {
    "data": {"source": "synthetic", "clips": 28, "workers": 0, "validation": 0.25, "noise": 0.5},
    "model": {"encoder": "tiny", "options": {"frames": 8, "heads": 2, "head_width": 16, "temperature": 0.1}},
    "optim": {"name": "adamw", "lr": 1e-3},
    "loop": {"epochs": 2, "batch": 4, "ema": 0.9},
}


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def config(*flags: str) -> RunConfig:
    return load(RunConfig, below=[Layer(SMALL, "the test")], assignments=flags).settings


def run(out: Path, settings: RunConfig, **more: Any) -> FitResult:
    return fit(settings, out, ONE, quiet=True, **more)


def weights(out: Path, name: str = "last.safetensors") -> dict[str, torch.Tensor]:
    return load_tensors(out / name)[0]


def assert_same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> None:
    assert a.keys() == b.keys()
    for name in a:
        assert torch.equal(a[name], b[name]), name


@pytest.mark.parametrize("stop_at", [3, 5, 7])
def test_an_interrupted_and_resumed_run_is_the_unbroken_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop_at: int
) -> None:
    settings = config("mix.mixup=0.4", "mix.fmix=1.0")
    whole = run(tmp_path / "whole", settings)
    step = Trainer.step

    def interrupted_step(self: Trainer, batches: Any) -> dict[str, float]:
        terms = step(self, batches)
        if self.progress.epoch * self.order.steps + self.progress.step + 1 == stop_at:
            os.kill(os.getpid(), signal.SIGINT)
        return terms

    monkeypatch.setattr(Trainer, "step", interrupted_step)
    broken = run(tmp_path / "broken", settings)
    assert broken.interrupted
    assert broken.progress.epoch * 5 + broken.progress.step == stop_at
    monkeypatch.undo()
    resumed = run(tmp_path / "broken", settings, resume=True)
    assert not resumed.interrupted
    assert resumed.progress.history == whole.progress.history
    assert_same(weights(tmp_path / "whole"), weights(tmp_path / "broken"))
    assert_same(weights(tmp_path / "whole", "best.safetensors"), weights(tmp_path / "broken", "best.safetensors"))
    assert_same(weights(tmp_path / "whole", "state.safetensors"), weights(tmp_path / "broken", "state.safetensors"))


def test_accumulation_gives_the_gradient_of_the_whole_batch(tmp_path: Path) -> None:
    # Without V^P, whose norm can make a gradient near-singular and lift rounding to 1e-4.
    plain = ["loop.ema=0", "optim.name=sgd", "model.text_side=labels", "model.options.visual_prompt=none"]
    run(tmp_path / "one", config(*plain))
    run(tmp_path / "two", config(*plain, "loop.accumulate=2"))
    one, two = weights(tmp_path / "one"), weights(tmp_path / "two")
    for name in one:
        torch.testing.assert_close(one[name], two[name], atol=2e-6, rtol=1e-4)


def test_bf16_trains_and_stays_finite(tmp_path: Path) -> None:
    result = run(tmp_path / "run", config("loop.precision=bf16"))
    assert len(result.progress.history) == 2
    assert all(torch.isfinite(t).all() for t in weights(tmp_path / "run").values())


def test_another_configuration_is_not_resumed(tmp_path: Path) -> None:
    run(tmp_path / "run", config("loop.epochs=1"))
    with pytest.raises(SettingsError, match="--resume"):
        run(tmp_path / "run", config("loop.epochs=1"))
    with pytest.raises(CheckpointError, match=r"optim\.lr was 0\.001"):
        run(tmp_path / "run", config("loop.epochs=1", "optim.lr=0.01"), resume=True)


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    run(tmp_path / "run", config("loop.epochs=1"))
    (tmp_path / "run" / "state.safetensors").write_bytes(b"not a checkpoint")
    with pytest.raises(CheckpointError, match=r"state\.safetensors"):
        run(tmp_path / "run", config("loop.epochs=1"), resume=True)


def test_early_stop_needs_patience_epochs_without_a_better_validation(tmp_path: Path) -> None:
    # At rate 0 nothing improves after the first epoch.
    result = run(tmp_path / "run", config("optim.lr=0.0", "loop.epochs=9", "loop.patience=2", "loop.ema=0"))
    assert result.progress.best_epoch == 0
    assert len(result.progress.history) == 3


def test_last_trains_on_every_clip_and_needs_no_validation(tmp_path: Path) -> None:
    settings = config("data.validation=0.0", "loop.select=last", "loop.epochs=1")
    result = run(tmp_path / "run", settings)
    assert result.selected == "last.safetensors"
    assert not (tmp_path / "run" / "best.safetensors").exists()
    assert "war" not in result.progress.history[0]


def test_a_run_loads_back_with_the_weights_it_selects(tmp_path: Path) -> None:
    run(tmp_path / "run", config())
    model, settings = load_run(tmp_path / "run")
    assert not model.training
    best = weights(tmp_path / "run", "best.safetensors")
    assert_same(best, {name: t for name, t in model.state_dict().items() if name in best})
    assert settings.loop == config().loop
    facts = json.loads((tmp_path / "run" / "data-report.json").read_text())
    assert facts[0]["clips"] == 28


def test_cached_features_train_the_head_alone(tmp_path: Path) -> None:
    settings = config(
        "loop.cache_features=true", "model.options.image_encoder=frozen", "loop.feature_views=2", "loop.ema=0"
    )
    run(tmp_path / "run", settings)
    frozen = load_tensors(tmp_path / "run" / "frozen.safetensors")[0]
    assert any(name.startswith("encoder.") for name in frozen)
    assert not any(name.startswith("encoder.") for name in weights(tmp_path / "run"))
    note = (tmp_path / "run" / "features" / "train.json").stat().st_mtime_ns
    again = dataclasses.replace(settings, loop=dataclasses.replace(settings.loop, epochs=3))
    with pytest.raises(CheckpointError, match=r"loop\.epochs"):
        run(tmp_path / "run", again, resume=True)
    assert (tmp_path / "run" / "features" / "train.json").stat().st_mtime_ns == note


def test_a_trained_encoder_is_not_cached(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="frozen encoder"):
        run(tmp_path / "run", config("loop.cache_features=true"))


def test_a_frozen_part_answers_as_in_evaluation_while_the_rest_trains() -> None:
    frozen = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5)).requires_grad_(False)
    model = nn.Sequential(frozen, nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4))
    training_mode(model)
    before = frozen(torch.ones(2, 3, 8, 8))
    model(torch.randn(8, 3, 8, 8))
    torch.testing.assert_close(frozen(torch.ones(2, 3, 8, 8)), before, atol=0, rtol=0)
    assert model[2].training
    assert model[2].num_batches_tracked == 1
