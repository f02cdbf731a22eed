"""Opening: which bytes may be read, which stream of them is the picture, and what the libraries say about it."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.logging

from stream.camera.frame import CameraError

# Errors are captured call by call (decoder.py); what is said between calls belongs on nobody's terminal.
av.logging.set_level(av.logging.ERROR)
av.logging.set_skip_repeated(False)
logging.getLogger("libav").addHandler(logging.NullHandler())
logging.getLogger("libav").propagate = False

_FILE_OPTIONS = {"protocol_whitelist": "file"}
"""A playlist in disguise must not open a connection that nobody configured."""
_NO_VIDEO = ("hls", "dash", "concat", "tty", "sdp", "rtsp", "imf", "image2")
"""What FFmpeg would play, and is no video file: lists of other files, and text drawn as a picture."""
_FALLBACK_FPS = 25.0
_LENIENT: dict[str, Any] = {"metadata_errors": "ignore"} if int(av.__version__.split(".")[0]) < 19 else {}
"""Titles in no known encoding are no reason to refuse a file; PyAV 19 takes them as they come."""


def open_file(path: Path) -> av.container.InputContainer:
    """Open a video file, whatever its name.

    Raises:
        CameraError: If it is none that can be read, or holds no picture.
    """
    # Absolute: a relative name with a colon in it would be taken for a protocol.
    target = os.path.abspath(path)  # noqa: PTH100 (follows no link)
    try:
        with av.logging.Capture() as said:
            container: av.container.InputContainer = av.open(target, options=dict(_FILE_OPTIONS), **_LENIENT)
    except FileNotFoundError as error:
        raise CameraError(f"{path} does not exist") from error
    except (av.FFmpegError, OSError, ValueError) as error:
        why = first_line(said) or getattr(error, "strerror", "") or str(error)
        raise CameraError(
            f"{path} is not a video that can be read ({why})", "is it complete, and does ffprobe read it?"
        ) from error
    if container.format.name.split(",")[0] in _NO_VIDEO:
        container.close()
        raise CameraError(f"{path} is no video, but {container.format.long_name}")
    return container


def open_stream(url: str, options: Mapping[str, str], open_s: float, read_s: float) -> av.container.InputContainer:
    """Connect to a stream.

    Args:
        url: Its address, credentials included.
        options: FFmpeg's own, which say what may be connected to.
        open_s: Longest wait for an answer, s.
        read_s: Longest wait for data thereafter, s.

    Raises:
        av.FFmpegError: If it does not open; likewise OSError and ValueError.
    """
    with av.logging.Capture():
        container: av.container.InputContainer = av.open(
            url, options=dict(options), timeout=(open_s, read_s), **_LENIENT
        )
        return container


def picture_stream(container: av.container.InputContainer, shown: str) -> av.VideoStream:
    """Choose the stream that is shown: one that moves, the default one, else the largest; never a cover picture.

    An animated AVIF holds its first picture as a stream of its own, marked as the default.

    Raises:
        CameraError: If there is none that can be decoded.
    """
    streams = [s for s in container.streams.video if not s.disposition & av.stream.Disposition.attached_pic]
    if not streams:
        raise CameraError(f"{shown} holds no video" + (", only a cover picture" if container.streams.video else ""))
    whole = [s for s in streams if not s.disposition & av.stream.Disposition.dependent]
    if not whole:
        raise CameraError(f"{shown} is a picture in tiles (HEIF), which are not put together here", "convert it")
    known = [s for s in whole if s.codec_context is not None]
    if not known:
        raise CameraError(f"{shown} holds video of a codec that is not known here", "convert it")
    default = av.stream.Disposition.default
    return max(known, key=lambda s: (s.frames != 1, bool(s.disposition & default), s.width * s.height, -s.index))


def declared_fps(stream: av.VideoStream) -> float:
    """The rate that a stream declares, frames/s, in (0, 1000]; 0 where it declares none that can be."""
    for rate in (stream.average_rate, stream.guessed_rate, stream.base_rate):
        if rate and 0 < rate <= 1000:
            return float(rate)
    return 0.0


def period_ns(stream: av.VideoStream) -> int:
    """The time a picture is shown for where nothing says so, ns."""
    return round(1e9 / (declared_fps(stream) or _FALLBACK_FPS))


def declared_s(container: av.container.InputContainer, stream: av.VideoStream) -> float:
    """The length that a file declares, s; 0 where it declares none."""
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    return float(container.duration / av.time_base) if container.duration else 0.0


def pixel_aspect(stream: av.VideoStream) -> Fraction:
    """Width over height of one pixel; 1 where it is not known or cannot be."""
    aspect = stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio
    return Fraction(aspect) if aspect and Fraction(1, 5) <= aspect <= 5 else Fraction(1)


def first_line(said: list[tuple[int, str, str]]) -> str:
    """The first thing the libraries said, on one line."""
    return " ".join(said[0][2].split()) if said else ""
