"""Clips to fill an archive with: pieces of the built-in clip, each of its own, in classes with equal file names."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from stream.camera.paths import demo_clip_path

FPS = 15


def make_clips(folder: Path, count: int, frames: int = 2 * FPS) -> None:
    """Write ``clip-00000.avi`` and so on; no two are equal, and every one has a face."""
    source = cv2.VideoCapture(str(demo_clip_path()))
    images: list[NDArray[np.uint8]] = []
    while (read := source.read())[0]:
        images.append(np.asarray(read[1], np.uint8))
    source.release()
    for number in range(count):
        begin, turn = (7 * number) % (len(images) - frames), number // len(images)
        path = str(folder / f"clip-{number:05d}.avi")
        writer = cv2.VideoWriter(path, cv2.VideoWriter.fourcc(*"MJPG"), FPS, (640, 480))
        for image in images[begin : begin + frames]:
            # Some brightness of its own, so that equal pieces differ.
            writer.write(cv2.add(image, np.full_like(image, number % 13 + turn)))
        writer.release()
