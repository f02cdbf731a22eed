"""One captured frame, and the error of a source that cannot work."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.errors import DferError

SOURCES_OF_TIME = ("driver", "arrival", "file")
"""Where ``t_capture_ns`` comes from: the driver's own stamp, the return of ``read``, the file's time line."""


MAX_FRAME_BYTES = 8192 * 6144 * 3
"""Largest frame of any source, RGB; what the shared memory is mapped for."""


class CameraError(DferError):
    """A source that cannot work as configured; the message carries the remedy."""


@dataclass(frozen=True, eq=False)
class Frame:
    """One frame as the rest of the daemon sees it.

    Attributes:
        image: ``(H, W, 3)`` uint8 RGB. The caller's own copy: no later frame overwrites it.
        seq: Number of frames captured before this one, over the camera's life; gaps are dropped frames.
        t_capture_ns: CLOCK_MONOTONIC ns. For files: start time + the frame's own timestamp, at any playing
            speed.
        t_capture_unix_ns: The same moment as wall clock, ns; for reports only.
        t_capture_src: ``"driver"``, ``"arrival"`` or ``"file"``.
        t_arrival_ns: CLOCK_MONOTONIC ns at which the frame was in memory. Latencies of files are measured
            from here.
    """

    image: NDArray[np.uint8]
    seq: int
    t_capture_ns: int
    t_capture_unix_ns: int
    t_capture_src: str
    t_arrival_ns: int
