"""The driver seam: what a source must do, say and raise. Runs in the capture process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from stream.camera.frame import CameraError, Pictured
from stream.camera.pixels import Image, Pixels


class SourceLost(Exception):
    """A live source went away or did not open; opening it again later may help."""


class SourceEnded(Exception):
    """The source has no more frames."""


@dataclass(frozen=True)
class Opened:
    """What a source says of itself.

    Attributes:
        width: px.
        height: px.
        fps: Declared frames/s, 0 where unknown.
        duration_s: Files: their length, s; 0 where unknown or endless.
        predicted: Whether its pictures are made of others (H.264): equal ones then need no fault.
    """

    width: int
    height: int
    fps: float
    duration_s: float = 0.0
    predicted: bool = False


@dataclass(frozen=True)
class Raw(Pictured):
    """One frame as a driver gives it.

    Attributes:
        content: ``(H, W)`` grey, ``(H, W, 3)`` or ``(H, W, 4)`` uint8, or planes; the driver may overwrite it at its
            next ``read``.
        t_ns: Live: CLOCK_MONOTONIC ns. Files: ns from the first frame of the file.
        src: ``"driver"``, ``"arrival"`` or ``"file"``.
        rgb: Channel order RGB; else BGR, as OpenCV has it.
        position: Files: number of this frame within its pass of the file.
        base_ns: Files: media time at which this pass began, ns.
        damaged: Whether the decoder met an error in it.
    """

    content: Image
    t_ns: int
    src: str
    rgb: bool = False
    position: int = 0
    base_ns: int = 0
    damaged: bool = False


class Driver(Protocol):
    """A source of frames. Constructed with ``(uri, settings)``; used by one thread."""

    def open(self) -> Opened:
        """Open the source.

        Raises:
            SourceLost: If it may open later.
            CameraError: If it never will.
        """

    def read(self) -> Raw:
        """Wait for the next frame.

        Raises:
            FrameLost: If this frame cannot be used.
            SourceLost: If the source went away.
            SourceEnded: After the last frame.
            CameraError: If the source is unusable.
        """

    def close(self) -> None:
        """Release everything; safe to call twice and after a failed ``open``."""


def to_rgb(raw: Raw, target: NDArray[np.uint8]) -> None:
    """Write a driver's frame that is no planes as RGB into ``target`` ``(H, W, 3)`` uint8, in one pass.

    Raises:
        CameraError: If the frame is not 8 bit with 1, 3 or 4 channels.
    """
    image = raw.content
    assert not isinstance(image, Pixels)
    if image.dtype != np.uint8:
        raise CameraError(f"the source gives {image.dtype} pixels", "ask for an 8 bit format (camera.fourcc)")
    channels = 1 if image.ndim == 2 else image.shape[2]
    if channels == 3 and raw.rgb:
        np.copyto(target, image)
        return
    import cv2  # 27 MB, which the pictures of FFmpeg do without

    codes = {
        1: cv2.COLOR_GRAY2RGB,
        3: cv2.COLOR_BGR2RGB,
        4: cv2.COLOR_RGBA2RGB if raw.rgb else cv2.COLOR_BGRA2RGB,
    }
    if channels not in codes:
        raise CameraError(f"the source gives {channels} channels", "ask for grey or colour (camera.fourcc)")
    cv2.cvtColor(image, codes[channels], dst=target)
