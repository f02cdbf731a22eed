"""A decoded frame as the picture that is shown: RGB, 8 bit, square pixels, upright."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import cast

import av
import numpy as np
from av.sidedata.sidedata import SideData, SideDataContainer
from av.sidedata.sidedata import Type as SideDataType
from av.video.plane import VideoPlane
from av.video.reformatter import Colorspace, VideoReformatter
from numpy.typing import NDArray

from stream.camera.frame import Pictured, check_size
from stream.camera.pixels import Coding, Image, PlanarPixels
from stream.camera.video.orientation import Orientation, read_matrix
from stream.camera.video.tone import HLG, PQ, to_sdr

_UNSPECIFIED = 2
_FULL_RANGE = 2
_MATRICES = {1: True, 5: False, 6: False}
"""FFmpeg's numbers of BT.709 and of both forms of BT.601 (ITU-T H.273, table 4): whether it is the first."""
_BILINEAR, _WHOLE_COLOUR = 0x2, 0x2000 | 0x40000
"""Flags of swscale: bilinear; colour at full width, rounded (PyAV 17 has no names for the last two)."""
_HD_WIDTH, _SD_HEIGHT = 1280, 576
"""Where nothing says which matrix: BT.709 from this width or above this height, else BT.601, as players do."""
_side_data = cast("Callable[[av.VideoFrame], Mapping[SideDataType, SideData]]", SideDataContainer)


@dataclass(frozen=True, eq=False)
class Picture(Pictured):
    """One picture of a video.

    Attributes:
        content: ``(H, W, 3)`` uint8 RGB, or planes; upright, square pixels; its own memory.
        t_ns: From the first picture, ns, strictly rising.
        damaged: Whether the decoder met an error in it.
    """

    content: Image
    t_ns: int
    damaged: bool = False


class PictureMaker:
    """Makes pictures of the frames of one stream. Transparent parts are shown on black."""

    def __init__(self) -> None:
        self._reformatter = VideoReformatter()

    def make(self, frame: av.VideoFrame, aspect: Fraction) -> NDArray[np.uint8]:
        """Convert a frame.

        Args:
            frame: As decoded, no longer interlaced.
            aspect: Width over height of one pixel.

        Returns:
            ``(H, W, 3)`` uint8 RGB, contiguous. Neither side shrinks where pixels are not square.

        Raises:
            FrameLost: If it would be larger than the limit.
        """
        width, height = square(frame.width, frame.height, aspect)
        check_size(width, height)
        return self._upright(frame, width, height)

    def pixels(self, frame: av.VideoFrame, aspect: Fraction) -> Image:
        """The frame's own planes where nothing is to be done to them; else as :meth:`make`, and raising as it does."""
        width, height = square(frame.width, frame.height, aspect)
        check_size(width, height)
        coding = _coding(frame)
        if coding is None or (width, height) != (frame.width, frame.height) or orientation(frame) != Orientation():
            return self._upright(frame, width, height)
        y, u, v = (_plane(plane) for plane in frame.planes)
        return PlanarPixels(y, u, v, coding)

    def _upright(self, frame: av.VideoFrame, width: int, height: int) -> NDArray[np.uint8]:
        image = self._rgb(frame)
        if (width, height) != (frame.width, frame.height):
            import cv2  # only here and below: most videos need it nowhere, and it takes 27 MB

            image = np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)
        return orientation(frame).apply(image)

    def _rgb(self, frame: av.VideoFrame) -> NDArray[np.uint8]:
        if frame.color_trc in (PQ, HLG) and not frame.format.is_rgb:
            return to_sdr(np.asarray(self._convert(frame, "rgb48le").to_ndarray(), np.uint16), frame.color_trc)
        if frame.format.name == "pal8" or any(part.is_alpha for part in frame.format.components):
            import cv2

            image = _pixels(self._convert(frame, "rgba"), 4)
            shown = cv2.cvtColor(image, cv2.COLOR_RGBA2mRGBA)
            return np.asarray(cv2.cvtColor(shown, cv2.COLOR_RGBA2RGB), np.uint8)
        return _pixels(self._convert(frame, "rgb24"), 3)

    def _convert(self, frame: av.VideoFrame, to: str) -> av.VideoFrame:
        matrix: Colorspace | None = None
        if frame.colorspace == _UNSPECIFIED and not frame.format.is_rgb:
            matrix = Colorspace.ITU709 if _high(frame) else Colorspace.ITU601
        how = _BILINEAR
        if not frame.format.is_rgb and frame.format.name not in ("yuv420p", "yuvj420p", "nv12"):
            # Without it colour is halved in width even where the source has it whole.
            how |= _WHOLE_COLOUR
        return self._reformatter.reformat(frame, format=to, src_colorspace=matrix, interpolation=how, threads=1)


def square(width: int, height: int, aspect: Fraction) -> tuple[int, int]:
    """The size of a picture once its pixels are square, px: the longer side of a pixel sets it."""
    if aspect > 1:
        return round(width * aspect), height
    return width, round(height / aspect)


def orientation(frame: av.VideoFrame) -> Orientation:
    """How a frame lies, by its display matrix."""
    # A container of our own: in `frame.side_data` frame and container hold each other, so that every picture would stay
    # until a collection. By its key: what iterating gives differs between versions, and the stubs name other keys.
    data = _side_data(frame).get(SideDataType.DISPLAYMATRIX)
    return Orientation() if data is None else read_matrix(bytes(data))


def _high(frame: av.VideoFrame) -> bool:
    return frame.width >= _HD_WIDTH or frame.height > _SD_HEIGHT


def _coding(frame: av.VideoFrame) -> Coding | None:
    """How a frame of 4:2:0 codes colour; None where it is another, or of a matrix that is not known here."""
    if frame.format.name not in ("yuv420p", "yuvj420p") or frame.color_trc in (PQ, HLG):
        return None
    matrix = _MATRICES.get(frame.colorspace, _high(frame) if frame.colorspace == _UNSPECIFIED else None)
    if matrix is None:
        return None
    return Coding(matrix, frame.format.name == "yuvj420p" or frame.color_range == _FULL_RANGE)


def _plane(plane: VideoPlane) -> NDArray[np.uint8]:
    rows = np.frombuffer(cast("bytes", plane), np.uint8).reshape(-1, plane.line_size)
    return rows[: plane.height, : plane.width]


def _pixels(frame: av.VideoFrame, channels: int) -> NDArray[np.uint8]:
    """A packed frame's pixels: its own memory where rows follow each other, else a copy."""
    plane = frame.planes[0]
    rows = np.frombuffer(cast("bytes", plane), np.uint8).reshape(frame.height, plane.line_size)
    return np.ascontiguousarray(rows[:, : frame.width * channels]).reshape(frame.height, frame.width, channels)
