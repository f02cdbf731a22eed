"""Frames of a clip: counted on the disk, then read one by one, from a folder of images or a video file."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from train.data.record import Clip, DataError

Image = NDArray[np.uint8]

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp"})
VIDEO_SUFFIXES = frozenset({".mp4", ".avi", ".mov", ".mkv", ".mpg", ".mpeg", ".webm", ".flv", ".gif", ".m4v"})


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

    A video's packets are counted without decoding them.

    Raises:
        DataError: If the path is missing or the file is no readable video.
    """
    if clip.path.is_dir():
        return len(frame_files(clip.path))
    return len(_presentation_times(clip))


def count_decoded(clip: Clip) -> int:
    """Number of frames of a video that really decode, one after the other, none kept.

    Raises:
        DataError: If the file is no readable video.
    """
    return sum(1 for _ in _decode(clip))


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
    for index, frame in enumerate(_decode(clip)):
        if index in wanted:
            kept[index] = np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)
        if index == last:
            break
    missing = sorted(wanted - set(kept))
    if missing:
        raise DataError(f"{clip.path} decodes to {index + 1} frames, frame {missing[0]} was asked for", "broken video?")
    return [kept[index] for index in indices]


def iterate_frames(clip: Clip, folder_fps: float = 25.0) -> Iterator[tuple[float, Image]]:
    """All frames of a clip as a stream, never more than one in memory.

    Args:
        clip: Where they are.
        folder_fps: Rate taken for a folder of frames, which has no times.

    Yields:
        Seconds since the clip's first frame, increasing, and the ``(H, W, 3)`` uint8 RGB image.

    Raises:
        DataError: If the clip cannot be opened or an image of a folder is damaged.
    """
    if clip.path.is_dir():
        for index, file in enumerate(frame_files(clip.path)):
            yield index / folder_fps, _read_image(file)
        return
    first: float | None = None
    last = -1.0
    for frame in _decode(clip):
        time = frame.time if frame.time is not None else last + 1 / folder_fps
        first = time if first is None else first
        # Broken files repeat or turn back time stamps; whoever follows faces needs them to increase.
        last = max(time - first, last + 1e-3) if last >= 0 else 0.0
        yield last, np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)


def _read_image(path: Path) -> Image:
    # Not cv2.imread: that one warns on the console and cannot open some non-ASCII paths.
    try:
        data = np.frombuffer(path.read_bytes(), np.uint8)
    except OSError as error:
        raise DataError(f"cannot read frame {path}: {error.strerror}") from error
    image = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    if image is None:
        raise DataError(f"cannot decode frame {path}: the file is damaged or no image")
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)


def _open(path: Path) -> av.container.InputContainer:
    try:
        container = av.open(str(path), metadata_errors="ignore")
    except FileNotFoundError as error:
        raise DataError(f"no such file or folder: {path}") from error
    except (av.FFmpegError, OSError) as error:
        raise DataError(f"cannot open {path} as a video: {error.strerror or error}") from error
    if not container.streams.video:
        container.close()
        raise DataError(f"{path} holds no video stream")
    return container


def _presentation_times(clip: Clip) -> list[Fraction]:
    times: list[Fraction] = []
    with _open(clip.path) as container:
        stream = container.streams.video[0]
        base = stream.time_base or Fraction(1, 25)
        try:
            for packet in container.demux(stream):
                if packet.size and packet.pts is not None:
                    times.append(packet.pts * base)
                elif packet.size:
                    times.append((times[-1] if times else Fraction(0)) + base)
        except av.FFmpegError:
            # A truncated file ends early: what was there before counts, decoding will tell about the rest.
            pass
    if not times:
        raise DataError(f"{clip.path} holds no video frame")
    times.sort()
    start = times[0]
    return [t for t in times if _inside(clip, float(t - start))]


def _inside(clip: Clip, seconds: float) -> bool:
    # Half a microsecond of slack: times in annotation files are rounded decimals.
    return seconds >= clip.start_s - 5e-7 and (clip.end_s is None or seconds < clip.end_s - 5e-7)


def _decode(clip: Clip) -> Iterator[av.VideoFrame]:
    """Frames of the clip's time range, in order of presentation."""
    with _open(clip.path) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        first: float | None = None
        try:
            for frame in container.decode(stream):
                time = frame.time if frame.time is not None else 0.0
                first = time if first is None else first
                if clip.end_s is not None and time - first >= clip.end_s:
                    return
                if _inside(clip, time - first):
                    yield frame
        except av.FFmpegError:
            # Reported by the caller as the number of frames that did decode.
            return
