"""Small videos of every kind, written by FFmpeg's encoders from one sequence of pictures with a number in each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
import av.filter
import cv2
import numpy as np
from av.video.reformatter import ColorRange, Colorspace
from numpy.typing import NDArray

Image = NDArray[np.uint8]
FRAMES, FPS = 8, 25
BITS, BLOCK = 4, 16

TIMES: dict[str, list[int]] = {
    "constant": list(range(FRAMES)),
    "variable": [0, 1, 3, 4, 8, 9, 11, 15],
    "late": [125 + k for k in range(FRAMES)],
    "trimmed": [k - 3 for k in range(FRAMES)],
}
"""When each frame is shown, in periods. Of a trimmed clip the first three are hidden by its edit list."""


@dataclass(frozen=True)
class Kind:
    """How a clip is made.

    Attributes:
        codec: FFmpeg's name of the encoder.
        container: FFmpeg's name of the muxer.
        pixels: Pixel format.
        time: A key of :data:`TIMES`.
        bframes: Frames that refer to later ones in between.
        scan: ``progressive``, ``tff`` or ``bff``.
        turn: Quarter turns clockwise that a player makes, after it has mirrored.
        mirrored: Whether a player mirrors.
        full: Whether luma is 0 to 255.
        size: Width and height, px.
        aspect: Width over height of a pixel.
    """

    codec: str
    container: str
    pixels: str = "yuv420p"
    time: str = "constant"
    bframes: int = 0
    scan: str = "progressive"
    turn: int = 0
    mirrored: bool = False
    full: bool = False
    size: tuple[int, int] = (112, 64)
    aspect: Fraction = Fraction(1)

    def __str__(self) -> str:
        parts = [self.codec, self.container, self.pixels, self.time, self.scan, f"{90 * self.turn}"]
        parts += ["mirrored"] * self.mirrored + ["full"] * self.full + ["b"] * bool(self.bframes)
        return "-".join(parts)

    @property
    def upright(self) -> tuple[int, int]:
        """Width and height of a picture as it is shown, its pixels as they are stored."""
        return self.size[::-1] if self.turn % 2 else self.size

    @property
    def shown(self) -> list[int]:
        """Numbers of the frames that are shown."""
        return [n for n, t in enumerate(TIMES[self.time]) if t >= 0]

    @property
    def seconds(self) -> list[float]:
        """When they are shown, from the first, s."""
        stamps = [TIMES[self.time][n] for n in self.shown]
        return [(stamp - stamps[0]) / FPS for stamp in stamps]


def picture(number: int, size: tuple[int, int] = (112, 64)) -> Image:
    """``(H, W, 3)`` uint8 RGB: soft colours, no symmetry, and above the number in black and white blocks."""
    width, height = size
    x, y = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    image = np.stack([60 + 140 * x, 60 + 140 * y, 180 - 100 * x * y + 8 * (number % 5)], -1).round().astype(np.uint8)
    for bit in range(BITS):
        image[:BLOCK, bit * BLOCK : (bit + 1) * BLOCK] = 235 if number >> bit & 1 else 20
    return image


def number_of(image: Image) -> int:
    """The number that was drawn into a picture of its original size."""
    middle = BLOCK // 2
    return sum(int(image[middle - 3 : middle + 3, bit * BLOCK + middle].mean() > 128) << bit for bit in range(BITS))


def psnr(image: Image, wanted: Image) -> float:
    """Peak signal to noise ratio against the wanted picture, dB."""
    error = float(np.mean((image.astype(float) - wanted) ** 2))
    return 99.0 if error == 0 else 10 * float(np.log10(255**2 / error))


_OPTIONS: dict[str, dict[str, str]] = {
    "libx264": {"preset": "ultrafast", "qp": "4"},
    "libx265": {"preset": "ultrafast", "x265-params": "qp=8:log-level=none:pools=none:frame-threads=1"},
    "libvpx-vp9": {"deadline": "realtime", "cpu-used": "8", "crf": "6", "b": "0"},
    "libsvtav1": {"preset": "6", "crf": "4", "svtav1-params": "lp=1:scm=0:enable-tf=0:hierarchical-levels=2"},
    "mpeg2video": {"qmin": "2", "qmax": "3"},
    "mpeg4": {"qmin": "2", "qmax": "3"},
    "mjpeg": {"qmin": "2", "qmax": "2"},
    "libwebp_anim": {"lossless": "1", "loop": "0"},
}


def write_clip(path: Path, kind: Kind) -> Path:
    """Write a clip of a kind: the numbered pictures at the times of its kind."""
    pictures = [stored(picture(number, kind.upright), kind) for number in range(FRAMES)]
    return write_frames(path, kind, pictures, TIMES[kind.time])


def write_frames(path: Path, kind: Kind, pictures: Sequence[Image], times: Sequence[int] | None = None) -> Path:
    """Write pictures ``(H, W, 3)`` as they are stored, at times in periods; one after the other if not given."""
    muxer = {"avoid_negative_ts": "disabled"} if kind.time == "trimmed" else {}
    if kind.container in ("mp4", "mov"):
        muxer["movflags"] = "+faststart"
    options = dict(_OPTIONS.get(kind.codec, {}))
    if kind.scan != "progressive":
        options["flags"] = "+ilme+ildct"
    options["bf"] = str(kind.bframes)
    options["g"] = "4" if kind.time == "trimmed" else "12"
    if kind.codec not in ("libx264", "libx265", "libvpx-vp9", "mpeg2video", "mpeg4", "libsvtav1"):
        options.pop("bf"), options.pop("g")
    if kind.codec == "libx264" and kind.bframes:
        options["preset"] = "superfast"
    with av.open(str(path), "w", format=kind.container, container_options=muxer) as container:
        stream = cast("av.VideoStream", container.add_stream(kind.codec, rate=FPS, options=options))
        stream.width, stream.height = pictures[0].shape[1], pictures[0].shape[0]
        stream.pix_fmt = kind.pixels
        stream.codec_context.thread_count = 1
        stream.codec_context.time_base = Fraction(1, FPS)
        if kind.aspect != 1 and kind.codec != "dvvideo":
            stream.codec_context.sample_aspect_ratio = kind.aspect
        rgb = kind.pixels in ("rgb8", "rgba", "rgb24", "bgra", "bgr8", "pal8")
        if not rgb:
            stream.codec_context.color_range = ColorRange.JPEG if kind.full else ColorRange.MPEG
        if kind.turn or kind.mirrored:
            stream.set_display_matrix(_matrix(kind))
        fields = _Fields(kind)
        for image, stamp in zip(pictures, times or range(len(pictures)), strict=True):
            frame = _frame(image, kind, rgb)
            frame.pts, frame.time_base = stamp, Fraction(1, FPS)
            container.mux(stream.encode(fields.mark(frame)))
        container.mux(stream.encode(None))
    return path


def stored(image: Image, kind: Kind) -> Image:
    """A picture as the camera stores it, for a player to turn and mirror it back."""
    image = np.rot90(image, kind.turn)
    return np.ascontiguousarray(image[:, ::-1] if kind.mirrored else image)


def _frame(image: Image, kind: Kind, rgb: bool) -> av.VideoFrame:
    frame = av.VideoFrame.from_ndarray(image, format="rgb24")
    if rgb:
        return frame.reformat(format=kind.pixels, threads=1)
    made = frame.reformat(
        format=kind.pixels,
        dst_colorspace=Colorspace.ITU601,
        dst_color_range=ColorRange.JPEG if kind.full else ColorRange.MPEG,
        interpolation="BICUBIC",
        threads=1,
    )
    made.color_range = ColorRange.JPEG if kind.full else ColorRange.MPEG
    return made


def _matrix(kind: Kind) -> list[int]:
    """ISO/IEC 14496-12: a b u, c d v, x y w, of the mirror and then the turn."""
    cos, sin = ((1, 0), (0, 1), (-1, 0), (0, -1))[kind.turn]
    a, b = (-cos, -sin) if kind.mirrored else (cos, sin)
    one = 1 << 16
    return [a * one, b * one, 0, -sin * one, cos * one, 0, 0, 0, 1 << 30]


@dataclass
class _Fields:
    """Marks frames as interlaced, which only a filter can."""

    kind: Kind
    _graph: Any = field(default=None)

    def mark(self, frame: av.VideoFrame) -> av.VideoFrame:
        if self.kind.scan == "progressive":
            return frame
        if self._graph is None:
            self._graph = av.filter.Graph()
            source = self._graph.add_buffer(
                width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base
            )
            marker, sink = self._graph.add("setfield", self.kind.scan), self._graph.add("buffersink")
            source.link_to(marker)
            marker.link_to(sink)
            self._graph.configure()
        self._graph.push(frame)
        marked = self._graph.pull()
        assert isinstance(marked, av.VideoFrame)
        return marked


def widened(image: Image, aspect: Fraction) -> Image:
    """A picture with its pixels made square, as a player shows it."""
    return np.asarray(cv2.resize(image, (round(image.shape[1] * aspect), image.shape[0])), np.uint8)
