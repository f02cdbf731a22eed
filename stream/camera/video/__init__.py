"""Video through FFmpeg's own libraries (PyAV): the one decoder of files and network streams, in every program."""

from __future__ import annotations

from pathlib import Path

from stream.camera.kinds import HEAD_BYTES, is_animated_webp
from stream.camera.video.animation import AnimationReader
from stream.camera.video.decoder import Damage
from stream.camera.video.info import VideoInfo
from stream.camera.video.picture import Picture
from stream.camera.video.reader import VideoReader, shown_times

__all__ = ["Damage", "Picture", "VideoInfo", "open_video", "presentation_times"]


def open_video(path: Path) -> VideoReader | AnimationReader:
    """Open a video file; what it is, is judged by its content.

    Raises:
        CameraError: If it is no video that can be read.
    """
    return AnimationReader(path) if _animated(path) else VideoReader(path)


def presentation_times(path: Path) -> list[int]:
    """When a video's pictures are shown, ns from the first, rising, by its packets alone: nothing is decoded.

    Raises:
        CameraError: If it is no video that can be read.
    """
    if not _animated(path):
        return shown_times(path)
    reader, times = AnimationReader(path), []
    while (t_ns := reader.advance()) is not None:
        times.append(t_ns)
    return times


def _animated(path: Path) -> bool:
    with path.open("rb") as file:
        return is_animated_webp(file.read(HEAD_BYTES))
