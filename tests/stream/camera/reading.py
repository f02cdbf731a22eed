"""Reading a camera in tests until something holds."""

from __future__ import annotations

import time
from collections.abc import Callable

from stream.camera import Camera, Frame


def read_until(camera: Camera, done: Callable[[], bool], seconds: float = 30.0) -> list[Frame]:
    """The frames read until ``done``; fails with the camera's state where that takes too long."""
    frames = []
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, f"still {camera.state}: {camera.stats}"
        if (frame := camera.read(0.2)) is not None:
            frames.append(frame)
    return frames
