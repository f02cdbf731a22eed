"""The daemon's loop: receive, step, send, until told to stop. Clocks and sockets are here, decisions are not."""

from __future__ import annotations

import gc
import time
from dataclasses import dataclass

from stream.camera.camera import Camera
from stream.camera.frame import Frame
from stream.daemon import CameraReport, Daemon
from stream.health.machine import Machine
from stream.health.notify import Notifier
from stream.publish.message import Message, Status
from stream.show.outputs import Outputs


@dataclass(frozen=True)
class Limits:
    """When to stop by itself.

    Attributes:
        frames: After this many processed frames; None for never.
        seconds: After this long; None for never.
    """

    frames: int | None = None
    seconds: float | None = None


class Loop:
    """Receive, step, send.

    Args:
        daemon: Says what is published.
        camera: Started.
        outputs: Where messages go.
        notifier: The service manager.
    """

    def __init__(self, daemon: Daemon, camera: Camera, outputs: Outputs, notifier: Notifier) -> None:
        self._daemon, self._camera, self._outputs, self._notifier = daemon, camera, outputs, notifier
        self._stopping = False

    def stop(self) -> None:
        """Ask the loop to end after the frame in hand; safe from a signal handler."""
        self._stopping = True

    def run(self, limits: Limits | None = None) -> Status:
        """Run until stopped, until the source ended, or until a limit.

        Args:
            limits: When to stop by itself.

        Returns:
            The last status, which says how the run went.

        Raises:
            CameraError: If the source can never work.
            BackendError: If the last back end failed.
        """
        # What was loaded stays: a collection in the middle of a frame need not look through it.
        gc.collect()
        gc.freeze()
        limits, frames, begun_ns = limits or Limits(), 0, time.monotonic_ns()
        self._notifier.ready(f"publishing on {self._outputs.endpoint}")
        while not self._stopping:
            now_ns = time.monotonic_ns()
            if limits.seconds is not None and now_ns - begun_ns >= limits.seconds * 1e9:
                break
            frame = self._camera.read(self._daemon.wait_s(now_ns), lent=True)
            camera = CameraReport.of(self._camera)
            for message in self._daemon.step(frame, time.monotonic_ns(), camera):
                self._send(message, frame)
            frames += frame is not None
            if frames == limits.frames or (frame is None and camera.state == "ended"):
                break
            if self._daemon.status_due(time.monotonic_ns()):
                self._send_status()
            self._outputs.serve()
            now_ns = time.monotonic_ns()
            self._notifier.feed(now_ns, self._daemon.sent(now_ns))
        self._notifier.stopping()
        return self._send_status()

    def _send_status(self) -> Status:
        camera = CameraReport.of(self._camera)
        status = self._daemon.status(time.monotonic_ns(), camera, Machine.read(), self._outputs.counts)
        self._send(status)
        return status

    def _send(self, message: Message, frame: Frame | None = None) -> None:
        # Not `|=`: it would undo a stop that a signal asks for during the sending.
        if not self._outputs.send(message, frame):
            self._stopping = True
