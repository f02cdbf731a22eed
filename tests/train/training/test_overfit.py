"""Each of the three models over-fits 32 synthetic clips to 100 %: a gradient reaches whatever must learn."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from engine.settings import Layer, load
from train.data.dataset import ClipDataset
from train.data.parts import load_parts
from train.evaluation.predict import predict
from train.settings import RunConfig
from train.training.distributed import Processes
from train.training.fit import fit, load_run

ONE = Processes(0, 1, torch.device("cpu"))


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("name", "options", "rate"),
    [
        ("tg-dfer", {"heads": 2, "head_width": 16, "temperature": 0.1}, 2e-3),
        ("dk-clip", {"heads": 2}, 2e-3),
        ("clip-guided", {"heads": 2, "head_width": 16}, 2e-3),
    ],
)
def test_model_overfits_32_clips(tmp_path: Path, name: str, options: dict[str, object], rate: float) -> None:
    frames = 8 if name != "dk-clip" else 16
    settings = {
        "data": {"source": "synthetic", "clips": 32, "workers": 0, "validation": 0.0, "prefix": 0.0, "noise": 0.5},
        "augment": {
            "crop_scale": [1.0, 1.0], "crop_ratio": 1.0, "rotation_deg": 0.0, "flip": 0.0, "grey": 0.0, "infrared": 0.0,
            "brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "hue_deg": 0.0,
        },
        "model": {"name": name, "encoder": "tiny", "text_side": "labels", "options": {"frames": frames, **options}},
        "optim": {"name": "adamw", "lr": rate, "weight_decay": 0.0, "warmup_epochs": 5.0},
        "loop": {"epochs": 60, "batch": 16, "select": "last"},
    }  # fmt: skip
    config = load(RunConfig, below=[Layer(settings, "the test")]).settings
    result = fit(config, tmp_path / "run", ONE, quiet=True)
    model, _ = load_run(tmp_path / "run")
    parts = load_parts(config.data, frames, config.loop.seed, want_test=False)
    assert parts.train is not None
    found = predict(model, ClipDataset(parts.train, model.spec().labels, model.spec()), torch.device("cpu"))
    losses = [row["loss_total"] for row in result.progress.history]
    assert found.scores().war == 1.0, (losses[::20], found.scores().text())
