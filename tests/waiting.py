"""Waiting in tests until something holds; never for a time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


def wait_for(done: Callable[[], bool], seconds: float = 120.0, every_s: float = 0.002) -> None:
    """Return as soon as ``done`` holds, asked every so often; fail where that takes too long."""
    pause, deadline = threading.Event(), time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, f"not so within {seconds:g} s"
        pause.wait(every_s)
