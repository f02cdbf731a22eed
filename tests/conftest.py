"""Small real models, exported once per run: what the daemon's tests stream through real back ends."""

from __future__ import annotations

import os

# Workers of pytest-xdist share the cores; with a thread per core each they would wait for one another.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import signal
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from hypothesis import settings
from torch import nn

from engine.export.export import export_bundle
from engine.spec import SEVEN_CLASSES, CropGeometry, ModelSpec
from stream.faces.nets import provide

if TYPE_CHECKING:
    from collections.abc import Callable

    from engine.bundle import Bundle

# Shared machines stall for seconds; how long one example takes says nothing about the code.
settings.register_profile("dferstream", deadline=None, max_examples=60)
settings.load_profile("dferstream")

# A suite started in the background of a script inherits an ignored SIGINT, and so would every program it starts:
# what Ctrl-C does could then not be tested.
signal.signal(signal.SIGINT, signal.default_int_handler)

# A checkout that was never installed, such as a second work tree, gets its face nets here.
provide.provide()

SIZE_PX = 32
WIDTH = 24


class UnitEncoder(nn.Module):
    """(B, U, S, S, 3) uint8 → (B, D): convolution, mean over space, then a mixture over the unit's frames."""

    def __init__(self, unit: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 8, 8)
        self.mix = nn.Linear(16 * unit, WIDTH)

    def forward(self, crops: torch.Tensor) -> torch.Tensor:
        batch, unit, size = crops.shape[0], crops.shape[1], crops.shape[2]
        x = crops.reshape(batch * unit, size, size, 3).permute(0, 3, 1, 2).float() / 127.5 - 1
        x = torch.relu(self.stem(x)).mean((2, 3)).reshape(batch, -1)
        return torch.tanh(self.mix(x))


class WindowHead(nn.Module):
    """(B, W, D) → logits, relevance and now; order matters to it, so that a shifted window cannot pass."""

    def __init__(self, unit: int, window: int) -> None:
        super().__init__()
        self.unit = unit
        self.position = nn.Parameter(torch.randn(window, WIDTH))
        self.classify = nn.Linear(WIDTH, len(SEVEN_CLASSES))

    def forward(self, features: torch.Tensor) -> tuple[torch.Tensor, ...]:
        each = self.classify(features * self.position) * 4
        relevance = each.amax(-1).softmax(-1).repeat_interleave(self.unit, 1)
        return each.mean(1), relevance, each[:, -1]


def make_bundle(path: Path, unit: int, window: int, hop: int, sample_hz: float = 8.0) -> Path:
    """Export a small random model of the given cadence."""
    torch.manual_seed(unit * 100 + window)
    spec = ModelSpec(
        name=f"small-u{unit}w{window}",
        labels=SEVEN_CLASSES,
        unit=unit,
        window=window,
        hop=hop,
        sample_hz=sample_hz,
        feature=WIDTH,
        has_now=True,
        crop=CropGeometry(size_px=SIZE_PX),
    )
    crops = np.random.default_rng(0).integers(0, 256, (16, unit, SIZE_PX, SIZE_PX, 3), dtype=np.uint8)
    export_bundle(
        UnitEncoder(unit), WindowHead(unit, window), spec, path, golden_crops=crops, provenance={}, metrics={}
    )
    return path


@pytest.fixture(scope="session")
def small_bundle(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Bundles by cadence: ``frames`` (TG-DFER's), ``snippets`` (DK-CLIP's), ``whole`` (CLIP-Guided's)."""
    made: dict[str, Path] = {}
    cadences = {"frames": (1, 16, 1, 8.0), "snippets": (4, 4, 4, 8.0), "whole": (8, 1, 2, 4.0)}

    def get(name: str) -> Path:
        if name not in made:
            made[name] = make_bundle(tmp_path_factory.mktemp("bundles") / name, *cadences[name])
        return made[name]

    return get


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Bundle]:
    """The papers' models with random weights of seed 0 on the smallest encoder, by name and whether outliers are in."""
    from train.bundle.random_bundle import random_bundle

    made: dict[tuple[str, bool], Bundle] = {}

    def get(name: str, outlier_heavy: bool = False) -> Bundle:
        if (name, outlier_heavy) not in made:
            path = tmp_path_factory.mktemp("tiny") / name
            made[name, outlier_heavy] = random_bundle(name, "tiny", path, outlier_heavy=outlier_heavy)
        return made[name, outlier_heavy]

    return get


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real faces, or a skip that says how to provide it."""
    beside = Path(__file__).parent.parent.parent / "shared" / "data"
    folder = Path(os.environ.get("DFER_SHARED_DATA", beside))
    if not folder.is_dir():
        pytest.skip("no real faces here: set DFER_SHARED_DATA to the folder that holds ferplus/, muxspace/ and video/")
    return folder
