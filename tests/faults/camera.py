"""A network camera that plays the demo clip and does what cameras do when they fail."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import cv2
import numpy as np

from stream.camera.paths import demo_clip_path
from stream.camera.video import open_video
from tests.stream.camera.drivers.mjpeg_server import PERIOD_S, ScriptedCamera, serving

MODES = ("ok", "gone", "silent", "frozen", "damaged", "larger")
_PICTURES = 60


def demo_jpegs(count: int = _PICTURES) -> list[bytes]:
    """The clip's first pictures as a camera would send them."""
    reader, made = open_video(demo_clip_path()), []
    for _ in range(count):
        picture = reader.next()
        assert picture is not None
        made.append(cv2.imencode(".jpg", picture.image[..., ::-1])[1].tobytes())
    reader.close()
    return made


class FaultyCamera:
    """Pictures at a pace, until `mode` says otherwise; any thread may set it.

    Args:
        pictures: JPEGs, played forwards and backwards.
        hz: Pictures per second, at most 50.

    Attributes:
        mode: One of :data:`MODES`. ``gone`` closes every connection, ``silent`` sends nothing on open ones.
    """

    def __init__(self, pictures: list[bytes], hz: float) -> None:
        self.mode = "ok"
        self._turn = [*pictures, *pictures[-2:0:-1]]
        self._pause_s = max(1 / hz - PERIOD_S, 0.0)
        self._pause = threading.Event()
        self._number = 0
        decoded = cv2.imdecode(np.frombuffer(pictures[0], np.uint8), cv2.IMREAD_COLOR)
        assert decoded is not None
        height, width = decoded.shape[:2]
        self._larger = [
            cv2.imencode(".jpg", cv2.resize(np.roll(decoded, k, 1), (width * 3 // 2, height * 3 // 2)))[1].tobytes()
            for k in range(8)
        ]

    def parts(self, _: int) -> Iterator[bytes]:
        """What a connection gets."""
        while self.mode != "gone":
            mode = self.mode
            if mode == "silent":
                self._pause.wait(0.05)
                continue
            if mode != "frozen":
                self._number += 1
            data = self._turn[self._number % len(self._turn)]
            if mode == "damaged":
                data = data[: len(data) // 2]
            yield self._larger[self._number % len(self._larger)] if mode == "larger" else data
            self._pause.wait(self._pause_s)

    @contextmanager
    def serving(self, host: str = "127.0.0.1") -> Iterator[ScriptedCamera]:
        """A server of it."""
        with serving(self.parts, host=host) as server:
            try:
                yield server
            finally:
                self.mode = "gone"
