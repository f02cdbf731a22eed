from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.bundle.bundle import Bundle
from engine.export.export import export_bundle
from engine.spec import ModelSpec
from tests.engine.tiny_models import tiny_modules, tiny_spec


def random_crops(spec: ModelSpec, count: int, seed: int = 0) -> NDArray[np.uint8]:
    rng = np.random.default_rng(seed)
    size = spec.crop.size_px
    coarse = rng.integers(0, 256, (count, spec.unit, size // 8, size // 8, 3), np.uint8)
    return coarse.repeat(8, axis=2).repeat(8, axis=3)


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A tiny bundle; do not alter it."""
    spec = tiny_spec()
    encoder, head = tiny_modules(spec)
    path = tmp_path_factory.mktemp("bundle") / "tiny"
    crops = random_crops(spec, 24)
    return export_bundle(encoder, head, spec, path, golden_crops=crops, provenance={"weights": "random"}, metrics={})


@pytest.fixture
def copied(exported: Bundle, tmp_path: Path) -> Path:
    """A copy of the tiny bundle, free to be damaged."""
    return Path(shutil.copytree(exported.path, tmp_path / "tiny"))
