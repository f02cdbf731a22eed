"""One captured frame, and why there may be none."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from engine.errors import DferError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from stream.camera.pixels import Image, Pixels

SOURCES_OF_TIME = ("driver", "arrival", "file")
"""Where ``t_capture_ns`` comes from: the driver's own stamp, the return of ``read``, the file's time line."""


MAX_FRAME_BYTES = 8192 * 6144 * 3
"""Largest frame of any source, RGB; what the shared memory is mapped for."""


class CameraError(DferError):
    """A source that cannot work as configured; the message carries the remedy."""


class FrameLost(Exception):
    """One frame cannot be used; the source goes on."""


def check_size(width: int, height: int) -> None:
    """Check that a frame is not over the limit, before memory is given to it.

    Raises:
        FrameLost: If it is.
    """
    if height * width * 3 > MAX_FRAME_BYTES:
        raise FrameLost(f"a frame of {width}x{height} px is too large: at most 8192x6144; ask for a smaller one")


class Pictured:
    """Something that shows a picture, kept as it was decoded."""

    content: Image

    @cached_property
    def pixels(self) -> Pixels:
        """The picture, whatever its layout."""
        from stream.camera.pixels import as_pixels

        return as_pixels(self.content)

    @cached_property
    def image(self) -> NDArray[np.uint8]:
        """The picture as ``(H, W, 3)`` uint8 RGB; planes are converted when it is first asked for."""
        return self.pixels.rgb()


@dataclass(frozen=True, eq=False)
class Frame(Pictured):
    """One frame as the rest of the daemon sees it.

    Attributes:
        content: ``(H, W, 3)`` uint8 RGB, or planes. The caller's own copy, which no later frame overwrites, unless it
            was asked to be lent (``Camera.read``).
        seq: Number of frames captured before this one, over the camera's life; gaps are dropped frames.
        t_capture_ns: CLOCK_MONOTONIC ns. For files: start time + the frame's own timestamp, at any playing
            speed.
        t_capture_unix_ns: The same moment as wall clock, ns; for reports only.
        t_capture_src: ``"driver"``, ``"arrival"`` or ``"file"``.
        t_arrival_ns: CLOCK_MONOTONIC ns at which the frame was in memory. Latencies of files are measured
            from here.
        fault: What it suffers from, one of ``stream.camera.faults.FAULTS``; empty where nothing is known to be wrong.
    """

    content: Image
    seq: int
    t_capture_ns: int
    t_capture_unix_ns: int
    t_capture_src: str
    t_arrival_ns: int
    fault: str = ""
