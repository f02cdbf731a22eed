"""What a video declares of itself."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class VideoInfo:
    """What a file declares.

    Attributes:
        width: px, as shown.
        height: px, as shown.
        fps: Pictures/s; 0 where it declares none.
        duration_s: s; 0 where it declares none.
    """

    width: int
    height: int
    fps: float
    duration_s: float
