"""A recording read in this process: every frame of a file, as fast as it decodes, with no capture process between."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import cv2
import numpy as np

from stream.camera.driver import Driver, Opened, SourceEnded, to_rgb
from stream.camera.drivers import open_driver
from stream.camera.frame import CameraError, Frame
from stream.camera.settings import CameraSettings
from stream.camera.uri import SourceUri

_BROKEN = (CameraError, cv2.error, OSError, ValueError, MemoryError)
"""What a decoder that meets a damaged file raises."""


class Recording:
    """The frames of a file as a camera gives them with ``every_frame``, decoded one ahead.

    Iterating never raises for a damaged file: it ends, and :attr:`problem` says why.

    Args:
        path: A video or a folder of frames.
        settings: The camera's; ``fps`` is the rate of a folder of frames.

    Attributes:
        opened: What the file declares.
        decoded: Frames given so far.
        problem: Why the file is not whole; None while nothing is known to be wrong.

    Raises:
        CameraError: If nothing of it can be decoded.
    """

    def __init__(self, path: str, settings: CameraSettings | None = None) -> None:
        self.problem: str | None = None
        self.decoded = 0
        settings = replace(settings or CameraSettings(), loop=False, driver=None)
        self._driver: Driver = open_driver(SourceUri("file", path, path), settings)
        try:
            self.opened: Opened = self._driver.open()
        except BaseException:
            self._driver.close()
            raise

    def __enter__(self) -> Recording:
        return self

    def __exit__(self, *_: object) -> None:
        self._driver.close()

    def __iter__(self) -> Iterator[Frame]:
        with ThreadPoolExecutor(1, "decode") as decoder:
            ahead = decoder.submit(self._next)
            while True:
                try:
                    frame = ahead.result()
                except SourceEnded:
                    self._judge_end()
                    return
                except _BROKEN as error:
                    self.problem = f"broken after {self.decoded} frames: {' '.join(str(error).split())}"
                    return
                self.decoded += 1
                ahead = decoder.submit(self._next)
                yield frame

    def _next(self) -> Frame:
        raw = self._driver.read()
        image = np.empty((*raw.image.shape[:2], 3), np.uint8)
        to_rgb(raw, image)
        return Frame(image, self.decoded, raw.t_ns, 0, "file", time.monotonic_ns())

    def _judge_end(self) -> None:
        declared = self.opened.frames
        # Some containers only estimate their count; all 13 clips this was tried on state it exactly.
        if declared - self.decoded > max(2, declared // 100):
            self.problem = f"cut short: {self.decoded} of {declared} frames could be read"
