"""A recording read in this process: every frame of a file, as fast as it decodes, with no capture process between."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import cv2

from stream.camera.driver import Opened, SourceEnded
from stream.camera.drivers.file import FileDriver, open_file
from stream.camera.faults import FrameJudge
from stream.camera.frame import CameraError, Frame, FrameLost
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
        self._judge, self._read, self._lost = FrameJudge(), 0, ""
        self._driver: FileDriver = open_file(SourceUri("file", path, path), settings)
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
        while True:
            seq, self._read = self._read, self._read + 1
            try:
                raw = self._driver.read()
            except FrameLost as loss:
                self._lost = self._lost or str(loss)
                continue
            return Frame(
                raw.content, seq, raw.t_ns, 0, "file", time.monotonic_ns(), self._judge.step(raw.pixels, raw.damaged)
            )

    def _judge_end(self) -> None:
        problem = self._driver.problem() or self._lost
        if problem:
            self.problem = f"{problem}; {self.decoded} frames could be read"
