"""A camera at the driver seam, steered through a link: the capture process around it is the real one.

A link is read without a descriptor, so that a count of the process's descriptors never meets one that is just open.
"""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stream.camera.driver import Opened, Raw, SourceLost
from stream.camera.settings import CameraSettings
from stream.camera.uri import SourceUri

DRIVER = "tests.stream.camera.fakes:SteeredCamera"
DYING = "tests.stream.camera.fakes:DyingCamera"


def steer(path: Path, mode: str) -> None:
    """Set the mode: ``ok``, ``absent``, ``hang``, ``hang_open``, ``freeze``, ``big``."""
    draft = path.with_suffix(".draft")
    draft.symlink_to(mode)
    draft.replace(path)


class SteeredCamera:
    fps = 100.0

    def __init__(self, uri: SourceUri, settings: CameraSettings) -> None:
        self._script = Path(uri.target)
        self._pace = threading.Event()
        self._noise = np.random.default_rng(os.getpid())
        self._still: NDArray[np.uint8] = self._noise.integers(0, 256, (48, 64, 3), np.uint8)

    def open(self) -> Opened:
        mode = str(self._script.readlink())
        if mode == "hang_open":
            threading.Event().wait()
        if mode == "absent":
            raise SourceLost("not plugged in")
        return Opened(64, 48, self.fps)

    def read(self) -> Raw:
        self._pace.wait(1 / self.fps)
        mode = str(self._script.readlink())
        if mode == "hang":
            threading.Event().wait()
        if mode == "absent":
            raise SourceLost("unplugged")
        if mode != "freeze":
            shape = (96, 128, 3) if mode == "big" else (48, 64, 3)
            self._still = self._noise.integers(0, 256, shape, np.uint8)
        return Raw(self._still, time.monotonic_ns(), "driver")

    def close(self) -> None:
        return


class DyingCamera(SteeredCamera):
    """Its third frame kills the capture process, as a crashing driver would."""

    frames = 0

    def read(self) -> Raw:
        self.frames += 1
        if self.frames == 3:
            os.abort()
        return super().read()
