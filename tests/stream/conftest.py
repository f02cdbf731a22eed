"""A publisher in a second process, for tests of subscribers."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
FEED = ROOT / "tests" / "subscribers" / "feed.py"


@pytest.fixture
def feed() -> Iterator[Callable[..., tuple[str, subprocess.Popen[str]]]]:
    """Start a publisher at an endpoint, with a source's name and a rate; gives the bound endpoint and the process."""
    started: list[subprocess.Popen[str]] = []

    def start(endpoint: str, source: str = "cam1", hz: float = 100.0) -> tuple[str, subprocess.Popen[str]]:
        child = subprocess.Popen(
            [sys.executable, str(FEED), endpoint, source, str(hz)],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        started.append(child)
        assert child.stdout is not None
        bound = child.stdout.readline().strip()
        assert bound, "the publisher did not start"
        return bound, child

    yield start
    for child in started:
        child.kill()
        child.wait()
        if child.stdout is not None:
            child.stdout.close()


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of random weights, made by the real exporter, that runs in a millisecond."""
    pytest.importorskip("torch", reason="exporting a bundle needs torch (pip install 'dferstream[train]')")
    from engine.export import export_bundle
    from tests.engine.tiny_models import tiny_modules, tiny_spec

    spec = tiny_spec()
    size = spec.crop.size_px
    crops = np.random.default_rng(0).integers(0, 256, (16, spec.unit, size, size, 3), np.uint8)
    path = tmp_path_factory.mktemp("bundle") / "tiny"
    export_bundle(*tiny_modules(spec), spec, path, golden_crops=crops, provenance={"weights": "random"}, metrics={})
    return path
