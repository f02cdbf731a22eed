from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.stream.apps.bridge.playing import Playing

ROOT = Path(__file__).resolve().parents[4]


@pytest.fixture
def playing(tmp_path: Path) -> Iterator[Playing]:
    made = Playing(tmp_path)
    yield made
    made.close()


@pytest.fixture
def bridge() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts `dfer-stream bridge …` in a process of its own."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str, **environ: str) -> subprocess.Popen[str]:
        child = subprocess.Popen(
            [sys.executable, "-m", "stream.cli", "bridge", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **environ},
        )
        started.append(child)
        return child

    yield start
    for child in started:
        child.kill()
        child.communicate()
