"""Frames of a clip: counted on the disk, then read one by one, from a folder of images or a video file."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from stream.camera import CameraError
from stream.camera.frame import FrameLost
from stream.camera.video import open_video, presentation_times
from stream.camera.video.animation import AnimationReader
from stream.camera.video.reader import VideoReader
from stream.camera.video.still import read_image
from train.data.record import Clip, DataError

Image = NDArray[np.uint8]
T = TypeVar("T")

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp"})


def natural_key(path: Path) -> tuple[tuple[int, int | str], ...]:
    """Sort key under which ``2.jpg`` comes before ``10.jpg``."""
    parts = re.split(r"(\d+)", path.name)
    return tuple((0, int(part)) if part.isdigit() else (1, part.lower()) for part in parts if part)


def frame_files(folder: Path) -> list[Path]:
    """The image files of a folder of frames, in order of time (numbers in names compared as numbers)."""
    files = (p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES and not p.name.startswith("."))
    return sorted(files, key=natural_key)


def count_frames(clip: Clip) -> int:
    """Number of frames of a clip on the disk; annotated counts are never believed.

    A video's packets are counted without decoding them, those that its edit list hides left out.

    Raises:
        DataError: If the path is missing or the file is no readable video.
    """
    if clip.path.is_dir():
        return len(frame_files(clip.path))
    return sum(_inside(clip, t_ns / 1e9) for t_ns in _usable(clip, lambda: presentation_times(clip.path)))


@dataclass(frozen=True)
class Decodable:
    """What of a video can be decoded.

    Attributes:
        frames: How many frames.
        problem: Why these are not all; None where nothing is known to be wrong.
    """

    frames: int
    problem: str | None


def count_decoded(clip: Clip) -> int:
    """Number of frames of a video that really decode, one after the other, none kept.

    Raises:
        DataError: If the file is no readable video.
    """
    return decode_whole(clip).frames


def decode_whole(clip: Clip) -> Decodable:
    """Decode a video from end to end, keeping no frame.

    Raises:
        DataError: If the file is no readable video.
    """
    with closing(_usable(clip, lambda: open_video(clip.path))) as reader:
        count = 0
        while (t_ns := reader.advance()) is not None:
            count += _inside(clip, t_ns / 1e9)
        return Decodable(count, reader.problem())


def read_frames(clip: Clip, indices: Sequence[int]) -> list[Image]:
    """Read some frames of a clip, decoding as a stream and keeping only those asked for.

    Args:
        clip: Where the frames are.
        indices: Frame numbers within the clip, any order, repetition allowed.

    Returns:
        One ``(H, W, 3)`` uint8 RGB image per index; repeated indices share one array.

    Raises:
        DataError: If a frame cannot be read or decoded; the message names file and frame.
    """
    if not indices:
        return []
    if clip.path.is_dir():
        files = frame_files(clip.path)
        if max(indices) >= len(files):
            raise DataError(f"{clip.path} has {len(files)} frames, frame {max(indices)} was asked for")
        loaded = {index: _read_image(files[index]) for index in sorted(set(indices))}
        return [loaded[index] for index in indices]
    wanted = set(indices)
    last = max(wanted)
    kept: dict[int, Image] = {}
    index = -1
    with closing(_usable(clip, lambda: open_video(clip.path))) as reader:
        while index < last and (t_ns := reader.advance()) is not None:
            index += _inside(clip, t_ns / 1e9)
            if index in wanted and index not in kept:
                kept[index] = _picture(clip, reader)
    missing = sorted(wanted - set(kept))
    if missing:
        raise DataError(f"{clip.path} decodes to {index + 1} frames, frame {missing[0]} was asked for", "broken video?")
    return [kept[index] for index in indices]


def iterate_frames(
    clip: Clip, folder_fps: float = 25.0, problems: list[str] | None = None
) -> Iterator[tuple[float, Image]]:
    """All frames of a clip as a stream, never more than one in memory.

    Args:
        clip: Where they are.
        folder_fps: Rate taken for a folder of frames, which has no times.
        problems: Takes what was wrong with a video that was read to its end all the same: damaged, cut short.

    Yields:
        Seconds since the clip's first frame, increasing, and the ``(H, W, 3)`` uint8 RGB image.

    Raises:
        DataError: If the clip cannot be opened or an image of a folder is damaged.
    """
    if clip.path.is_dir():
        for index, file in enumerate(frame_files(clip.path)):
            yield index / folder_fps, _read_image(file)
        return
    first_s: float | None = None
    with closing(_usable(clip, lambda: open_video(clip.path))) as reader:
        while (t_ns := reader.advance()) is not None:
            seconds = t_ns / 1e9
            if clip.end_s is not None and seconds >= clip.end_s:
                return
            if _inside(clip, seconds):
                first_s = seconds if first_s is None else first_s
                yield seconds - first_s, _picture(clip, reader)
        if problems is not None and (problem := reader.problem()) is not None:
            problems.append(problem)


def _read_image(path: Path) -> Image:
    try:
        return read_image(path)
    except CameraError as error:
        raise DataError(f"cannot read frame {path}: {error}") from error


def _usable(clip: Clip, read: Callable[[], T]) -> T:
    """What reading gives, its errors as ours."""
    try:
        return read()
    except FileNotFoundError as error:
        raise DataError(f"no such file or folder: {clip.path}") from error
    except OSError as error:
        raise DataError(f"cannot open {clip.path} as a video: {error.strerror}") from error
    except CameraError as error:
        raise DataError(str(error)) from error


def _picture(clip: Clip, reader: VideoReader | AnimationReader) -> Image:
    try:
        return reader.picture().image
    except FrameLost as loss:
        raise DataError(f"{clip.path}: {loss}") from loss


def _inside(clip: Clip, seconds: float) -> bool:
    # Half a microsecond of slack: times in annotation files are rounded decimals.
    return seconds >= clip.start_s - 5e-7 and (clip.end_s is None or seconds < clip.end_s - 5e-7)
