"""Small clips of one's own, drawn: a pattern of a person's and a take's own, moving."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import cast

import av
import cv2
import numpy as np
from av.video.stream import VideoStream
from numpy.typing import NDArray

Picture = NDArray[np.uint8]


def draw(person: str, take: str, frames: int = 12, size: tuple[int, int] = (96, 128)) -> list[Picture]:
    """Frames of a room that is the person's and of something in it that moves as in this take."""
    room = np.random.default_rng(zlib.crc32(person.encode()))
    motion = np.random.default_rng(zlib.crc32(f"{person}/{take}".encode()))
    height, width = size
    background = cv2.resize(room.integers(40, 215, (6, 8, 3), np.uint8), (width, height), interpolation=cv2.INTER_CUBIC)
    phase, speed = motion.uniform(0, 6, 2), motion.uniform(0.3, 0.9, 2)
    pictures: list[Picture] = []
    for t in range(frames):
        picture = np.array(background, np.uint8)
        x = int(width * (0.5 + 0.35 * np.sin(phase[0] + speed[0] * t)))
        y = int(height * (0.5 + 0.35 * np.cos(phase[1] + speed[1] * t)))
        cv2.ellipse(picture, (x, y), (width // 5, height // 3), 20 * t, 0, 360, (230, 190, 160), -1)
        cv2.circle(picture, (x, y), height // 10, (30, 30, 30), -1)
        pictures.append(picture)
    return pictures


def write(path: Path, pictures: list[Picture], codec: str = "mpeg4", quality: str = "3") -> Path:
    """A video of 10 frames/s."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = cast("VideoStream", container.add_stream(codec, rate=10, options={"qscale:v": quality}))
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


def own_folder(root: Path, persons: int = 6, takes: int = 2) -> Path:
    """``<class>/<person>/<take>.mp4`` of two classes."""
    for person in range(persons):
        for label in ("happy", "anger"):
            for take in range(takes):
                name = f"p{person}"
                write(root / label / name / f"{take}.mp4", draw(name, f"{label}{take}"))
    return root
