"""Damaged files: what can be decoded is, nothing hangs, and no file whose end is missing is called whole."""

from __future__ import annotations

import re
import subprocess
import time
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from stream.camera import CameraError
from stream.camera.video import open_video
from tests.stream.camera.video.clips import Kind, picture, write_frames

SOURCES = {
    "mp4": Kind("libx264", "mp4", bframes=2),
    "mov": Kind("mpeg4", "mov"),
    "mkv": Kind("libx264", "matroska", bframes=2),
    "webm": Kind("libvpx-vp9", "webm"),
    "ts": Kind("libx264", "mpegts"),
    "m2v.ts": Kind("mpeg2video", "mpegts", bframes=2),
}
WAYS = ("flips", "zeros", "cut")
FRAMES = 72
MOST_CPU_S = 5.0
"""For one file of three seconds: more is a hang."""


@cache
def ffmpeg() -> str:
    """FFmpeg's own program: what it decodes is what is asked of us."""
    imageio = pytest.importorskip("imageio_ffmpeg", reason="pip install imageio-ffmpeg")
    return str(imageio.get_ffmpeg_exe())


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A clip of each kind, its index in front where it has one, so that the rest can be cut off."""
    folder = tmp_path_factory.mktemp("sources")
    made = {}
    for name, kind in SOURCES.items():
        path = write_frames(folder / name, kind, [noisy(number) for number in range(FRAMES)])
        made[name] = path.read_bytes()
    return made


def noisy(number: int) -> np.ndarray:
    """A picture that moves a little, with the noise of a sensor."""
    image = np.roll(picture(number % 8, (160, 96)), number, axis=1).astype(int)
    noise = np.random.default_rng(number).integers(-6, 7, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


def damage(data: bytes, way: str, seed: int) -> bytes:
    """Flip some bits, put zeros over a stretch, or cut the end off."""
    rng = np.random.default_rng(seed)
    made = bytearray(data)
    if way == "cut":
        return bytes(made[: int(rng.integers(len(data) // 20, len(data) - 1))])
    if way == "zeros":
        length = int(rng.integers(16, len(data) // 5))
        start = int(rng.integers(0, len(data) - length))
        made[start : start + length] = bytes(length)
        return bytes(made)
    for _ in range(int(rng.integers(1, 60))):
        made[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))
    return bytes(made)


def decoded_by_ffmpeg(path: Path) -> int:
    """How many frames FFmpeg gets out of a file."""
    orders = [ffmpeg(), "-hide_banner", "-nostdin", "-threads", "1", "-err_detect", "ignore_err", "-i", str(path)]
    run = subprocess.run(
        [*orders, "-map", "0:v:0", "-fps_mode", "passthrough", "-f", "null", "-"], capture_output=True, timeout=120
    )
    counts = re.findall(rb"frame= *(\d+)", run.stderr)
    return int(counts[-1]) if counts else 0


def check(path: Path, cut: bool) -> str | None:
    """What is wrong with how a damaged file is read; None where nothing is."""
    started = time.process_time()
    frames, problem = 0, None
    try:
        reader = open_video(path)
    except CameraError:
        problem = "refused"
    else:
        last_ns = -1
        while (t_ns := reader.advance()) is not None:
            assert t_ns > last_ns
            frames, last_ns = frames + 1, t_ns
        problem = reader.problem()
        reader.close()
    spent = time.process_time() - started
    if spent > MOST_CPU_S:
        return f"took {spent:.1f} s of CPU"
    if cut and problem is None:
        return "is called whole, and its end is missing"
    theirs = decoded_by_ffmpeg(path)
    if frames < int(theirs * 0.98):
        return f"gives {frames} frames, where FFmpeg gets {theirs}"
    return None


def run(sources: dict[str, bytes], folder: Path, seeds: range) -> None:
    wrong = []
    for seed in seeds:
        name, way = list(SOURCES)[seed % len(SOURCES)], WAYS[seed // len(SOURCES) % len(WAYS)]
        path = folder / f"damaged.{name}"
        path.write_bytes(damage(sources[name], way, seed))
        if (fault := check(path, way == "cut")) is not None:
            wrong.append(f"{name}, {way}, seed {seed}: {fault}")
    assert wrong == []


def test_damaged_files_are_read_on(sources: dict[str, bytes], tmp_path: Path) -> None:
    run(sources, tmp_path, range(90))


@pytest.mark.slow
def test_a_thousand_damaged_files_are_read_on(sources: dict[str, bytes], tmp_path: Path) -> None:
    run(sources, tmp_path, range(1000, 2000))


def test_whole_files_are_whole(sources: dict[str, bytes], tmp_path: Path) -> None:
    for name, data in sources.items():
        path = tmp_path / name
        path.write_bytes(data)
        reader = open_video(path)
        count = 0
        while reader.advance() is not None:
            count += 1
        assert (name, count, reader.problem()) == (name, FRAMES, None)
        reader.close()
