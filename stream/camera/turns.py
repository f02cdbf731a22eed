"""Several cameras, one reader: wait for all of them at once, and read them in fair turns."""

from __future__ import annotations

import select
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from stream.camera.camera import Camera
from stream.camera.frame import CameraError, Frame


@dataclass(frozen=True, eq=False)
class Reading:
    """What one camera gave in its turn.

    Attributes:
        camera: Which.
        frame: The frame; None where there was none, but news of its state.
        error: Why there will never be one: it takes no further turn.
    """

    camera: Camera
    frame: Frame | None = None
    error: CameraError | None = None


class CameraTurns:
    """Whose frame is next: of the cameras that have something new, the one read longest ago.

    Each camera keeps its newest frame alone, so a reader that is too slow drops frames of all of them alike, and a
    camera that is fast or broken takes no turn from another.

    Args:
        cameras: Started.
    """

    def __init__(self, cameras: Sequence[Camera]) -> None:
        self._queue = list(cameras)
        self._ready: set[int] = set()

    def wait(self, timeout_s: float) -> None:
        """Wait until one has something new, or its time to be looked at has come, at most `timeout_s`."""
        now_ns = time.monotonic_ns()
        limit_ns = now_ns + round(timeout_s * 1e9)
        first_ns = min((camera.check_again_ns for camera in self._queue), default=limit_ns)
        poll, of = select.poll(), dict[int, Camera]()
        for camera in self._queue:
            for descriptor in camera.descriptors():
                poll.register(descriptor, select.POLLIN)
                of[descriptor] = camera
        left_ns = max(0, min(first_ns, limit_ns) - now_ns)
        self._ready = {id(of[descriptor]) for descriptor, _ in poll.poll(-(-left_ns // 1_000_000))}

    def read(self) -> Iterator[Reading]:
        """Read each camera that has something new, once; its picture is lent until it is read again."""
        now_ns = time.monotonic_ns()
        for camera in list(self._queue):
            if id(camera) not in self._ready and now_ns < camera.check_again_ns:
                continue
            try:
                frame = camera.read(0, lent=True)
            except CameraError as error:
                self._queue.remove(camera)
                yield Reading(camera, error=error)
                continue
            if frame is not None:
                self._queue.remove(camera)
                self._queue.append(camera)
            yield Reading(camera, frame)
