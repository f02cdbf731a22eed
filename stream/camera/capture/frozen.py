"""Frozen cameras: a sensor whose frames repeat bit for bit. Pure.

A driver can go on delivering its last frame for ever after an unplug (OpenCV has done so). The noise of a
real sensor never repeats, so equal hashes over a second mean that nothing is being seen. Where an encoder says "as
before" of a still scene (H.264) it takes ten times as long; files are never frozen.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np

from stream.camera.pixels import Image, PlanarPixels, as_pixels

ROW_STEP = 4


def digest(image: Image) -> int:
    """Hash every fourth row of RGB, or of luma: enough to see noise, a quarter of the cost. 32 bit."""
    rows = image.planes[0] if isinstance(image, PlanarPixels) else as_pixels(image).rgb()
    return zlib.crc32(np.ascontiguousarray(rows[::ROW_STEP]).data)


@dataclass
class FrozenDetector:
    """Tells whether the frames have been the same one for too long.

    Attributes:
        frozen_ns: How long, ns; 0 never calls anything frozen.
    """

    frozen_ns: int
    _digest: int | None = None
    _since_ns: int = 0
    _frames: int = 0

    def step(self, value: int, t_ns: int) -> bool:
        """Take the next frame.

        Args:
            value: ``digest`` of the frame.
            t_ns: When it arrived, CLOCK_MONOTONIC ns.

        Returns:
            True while at least three frames over at least ``frozen_ns`` were equal.
        """
        if value != self._digest:
            self._digest, self._since_ns, self._frames = value, t_ns, 1
            return False
        self._frames += 1
        return bool(self.frozen_ns) and self._frames >= 3 and t_ns - self._since_ns >= self.frozen_ns

    def reset(self) -> None:
        """Forget the last frame."""
        self._digest, self._frames = None, 0
