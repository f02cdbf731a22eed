"""A publisher in a second process, for tests of subscribers."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

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
