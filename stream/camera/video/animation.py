"""Animated WebP, which FFmpeg before 9 does not decode: OpenCV reads it whole."""

from __future__ import annotations

from collections import deque
from pathlib import Path

import numpy as np

from stream.camera.frame import CameraError, check_size
from stream.camera.video.decoder import Damage
from stream.camera.video.extent import missing_bytes
from stream.camera.video.info import VideoInfo
from stream.camera.video.picture import Picture

_MOST_BYTES = 1 << 31
"""Of all pictures together, in memory: longer animations are refused."""


class AnimationReader:
    """One run through an animated WebP; as ``VideoReader``.

    Raises:
        CameraError: If it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.damage = Damage()
        data = np.fromfile(path, np.uint8)
        width, height = (1 + int.from_bytes(data[at : at + 3].tobytes(), "little") for at in (24, 27))
        check_size(width, height)
        most = max(1, _MOST_BYTES // (4 * width * height))
        import cv2

        # One row: its WebP reader asserts that, in 4.14.
        good, animation = cv2.imdecodeanimation(data[None], 0, most)
        if not good or not len(animation.frames):
            raise CameraError(f"{path} is not an image that can be read", "remove it or convert it")
        times = np.cumsum([0, *animation.durations]) * 1_000_000
        self._left = deque(zip(animation.frames, times.tolist(), strict=False))
        self.period_ns = max(1_000_000, int(np.median(animation.durations)) * 1_000_000)
        self.info = VideoInfo(width, height, 1e9 / self.period_ns, float(times[-1]) / 1e9)
        self._last_ns = -1

    def advance(self) -> int | None:
        """Go to the next picture; gives its time from the first, ns, None after the last."""
        if not self._left:
            return None
        self._current, t_ns = self._left.popleft()
        self._last_ns = max(int(t_ns), self._last_ns + 1_000_000 if self._last_ns >= 0 else 0)
        return self._last_ns

    def picture(self) -> Picture:
        """Make the picture that :meth:`advance` went to. Transparent parts are shown on black."""
        import cv2

        shown = cv2.cvtColor(np.asarray(self._current, np.uint8), cv2.COLOR_RGBA2mRGBA)
        return Picture(np.asarray(cv2.cvtColor(shown, cv2.COLOR_BGRA2RGB), np.uint8), self._last_ns)

    def next(self) -> Picture | None:
        """Go to the next picture and make it; None after the last."""
        return None if self.advance() is None else self.picture()

    def problem(self) -> str | None:
        """Why the file is not whole; None while nothing is known to be wrong."""
        missing = missing_bytes(self._path)
        return f"cut short: {missing} bytes are missing at its end" if missing else None

    def close(self) -> None:
        """Release the pictures."""
        self._left.clear()
