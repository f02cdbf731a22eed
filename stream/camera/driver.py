"""The driver seam: what a source must do, and which driver serves which URI. Runs in the capture process."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from stream.camera.frame import CameraError
from stream.camera.settings import CameraSettings
from stream.camera.uri import SourceUri


@dataclass(frozen=True)
class Opened:
    """What a source says of itself.

    Attributes:
        width: px.
        height: px.
        fps: Declared frames/s, 0 where unknown.
        frames: Frames in all, 0 where unknown or endless.
    """

    width: int
    height: int
    fps: float
    frames: int = 0


@dataclass(frozen=True)
class Raw:
    """One frame as a driver gives it.

    Attributes:
        image: ``(H, W)`` grey, ``(H, W, 3)`` or ``(H, W, 4)`` uint8; the driver may overwrite it at its next
            ``read``.
        t_ns: Live: CLOCK_MONOTONIC ns. Files: ns from the first frame of the file.
        src: ``"driver"``, ``"arrival"`` or ``"file"``.
        rgb: Channel order RGB; else BGR, as OpenCV has it.
        position: Files: number of this frame within its pass of the file.
        base_ns: Files: media time at which this pass began, ns.
    """

    image: NDArray[np.uint8]
    t_ns: int
    src: str
    rgb: bool = False
    position: int = 0
    base_ns: int = 0


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
            SourceLost: If the source went away.
            SourceEnded: After the last frame.
            CameraError: If the source is unusable.
        """

    def close(self) -> None:
        """Release everything; safe to call twice and after a failed ``open``."""


def open_driver(uri: SourceUri, settings: CameraSettings, position: int = 0, base_ns: int = 0) -> Driver:
    """Make the driver for a URI; nothing is opened yet.

    Args:
        uri: The parsed URI.
        settings: The camera's settings.
        position: Files: continue at this frame of the file.
        base_ns: Files: media time at which that pass of the file began.

    Raises:
        CameraError: If ``settings.driver`` cannot be imported.
    """
    if settings.driver is not None:
        module, _, name = settings.driver.partition(":")
        try:
            made: Driver = getattr(importlib.import_module(module), name)(uri, settings)
        except (ImportError, AttributeError) as error:
            raise CameraError(f"camera.driver {settings.driver} cannot be imported: {error}") from error
        return made
    # Each driver is imported only where used: the capture process must be up in half a second.
    if uri.is_file:
        from stream.camera.drivers.file import open_file

        return open_file(uri, settings, position, base_ns)
    if uri.kind == "v4l2":
        from stream.camera.drivers.v4l2 import V4L2Driver

        return V4L2Driver(uri, settings)
    if uri.kind in ("gst", "csi"):
        from stream.camera.drivers.gstreamer import GStreamerDriver

        return GStreamerDriver(uri, settings)
    from stream.camera.drivers.network import NetworkDriver

    return NetworkDriver(uri, settings)


def to_rgb(raw: Raw, target: NDArray[np.uint8]) -> None:
    """Write a driver's frame as RGB into ``target`` ``(H, W, 3)`` uint8, in one pass.

    Raises:
        CameraError: If the frame is not 8 bit with 1, 3 or 4 channels.
    """
    image = raw.image
    if image.dtype != np.uint8:
        raise CameraError(f"the source gives {image.dtype} pixels: ask for an 8 bit format (camera.fourcc)")
    channels = 1 if image.ndim == 2 else image.shape[2]
    if channels == 3 and raw.rgb:
        np.copyto(target, image)
        return
    codes = {
        1: cv2.COLOR_GRAY2RGB,
        3: cv2.COLOR_BGR2RGB,
        4: cv2.COLOR_RGBA2RGB if raw.rgb else cv2.COLOR_BGRA2RGB,
    }
    if channels not in codes:
        raise CameraError(f"the source gives {channels} channels: ask for grey or colour (camera.fourcc)")
    cv2.cvtColor(image, codes[channels], dst=target)
