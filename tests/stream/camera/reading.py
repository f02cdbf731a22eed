"""Reading a camera in tests until something holds, and small videos to read."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from stream.camera import Camera, CameraSettings, Frame

EVERY = CameraSettings(every_frame=True, start_ns=5_000_000_000)


def read_until(camera: Camera, done: Callable[[], bool], seconds: float = 30.0) -> list[Frame]:
    """The frames read until ``done``; fails with the camera's state where that takes too long."""
    frames = []
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, f"still {camera.state}: {camera.stats}"
        if (frame := camera.read(0.2)) is not None:
            frames.append(frame)
    return frames


def write_video(path: Path, frames: int = 20, fps: float = 25.0, size: tuple[int, int] = (64, 48)) -> Path:
    """Frame n is grey of level 10 n, its left half red-free, so that order and channels can be told."""
    fourcc = {".mp4": "mp4v", ".mkv": "mp4v", ".mov": "mp4v", ".avi": "MJPG", ".mpg": "PIM1"}[path.suffix]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*fourcc), fps, size)
    assert writer.isOpened()
    for n in range(frames):
        image = np.full((size[1], size[0], 3), 10 * n % 250, np.uint8)
        image[:, : size[0] // 2] = (200, 0, 0)
        writer.write(image)
    writer.release()
    return path


def play(source: str | Path, settings: CameraSettings = EVERY, limit: int = 1000) -> tuple[list[Frame], Camera]:
    """All frames of a source, until it ends or ``limit``."""
    frames: list[Frame] = []
    deadline = time.monotonic() + 60
    with Camera(str(source), settings) as camera:
        while camera.state != "ended" and len(frames) < limit:
            assert time.monotonic() < deadline
            if (frame := camera.read(1.0)) is not None:
                frames.append(frame)
    return frames, camera
