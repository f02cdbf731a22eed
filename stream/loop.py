"""The daemon's loop: receive, step, send, until told to stop. Clocks and sockets are here, decisions are not.

Several cameras take turns: in each round, each that has a new frame gets one step. Frames whose faces are sampled are
kept until the end of the round and encoded in one call; all others are published at once.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from engine.backends import BackendError
from stream.camera.camera import Camera
from stream.camera.frame import CameraError, Frame
from stream.camera.stats import CameraReport
from stream.camera.turns import CameraTurns
from stream.daemon import BegunStep, Daemon
from stream.health.effort import BusyMeter, EffortPolicy
from stream.health.machine import Machine
from stream.health.notify import Notifier
from stream.health.throttle import Throttle
from stream.pipeline import BegunFrame
from stream.publish.message import Message, Status
from stream.show.outputs import Outputs
from stream.show.sinks import log_line
from stream.window.overlap import StepResult
from stream.window.windows import step_together

_MACHINE_NS = 500_000_000
"""What the machine says of itself counts as long for the statuses of all sources: asking costs 3 ms of CPU."""


@dataclass(frozen=True)
class Limits:
    """When to stop by itself.

    Attributes:
        frames: After this many processed frames, of all sources together; None for never.
        seconds: After this long; None for never.
    """

    frames: int | None = None
    seconds: float | None = None


@dataclass
class Source:
    """One camera's way from frames to subscribers.

    Attributes:
        camera: Started.
        daemon: Says what is published.
        outputs: Where messages go.
        failure: Why the camera can never work; empty while it may.
    """

    camera: Camera
    daemon: Daemon
    outputs: Outputs
    failure: str = ""

    @property
    def over(self) -> bool:
        """Whether no more frames will come."""
        return bool(self.failure) or self.camera.state == "ended"

    @property
    def report(self) -> CameraReport:
        """What the camera says of itself."""
        if self.failure:
            return CameraReport("no_camera", self.camera.uri.is_file, message=self.failure)
        return self.camera.report


@dataclass(frozen=True)
class _Waiting:
    """A step that waits for its faces to be encoded."""

    source: Source
    step: BegunStep
    frame: Frame


class Loop:
    """Receive, step, send.

    Args:
        sources: At least one.
        notifier: The service manager.
        reload: Reads the settings anew.
    """

    def __init__(self, sources: Sequence[Source], notifier: Notifier, reload: Callable[[], None] | None = None) -> None:
        self._reload, self._reload_asked = reload, False
        self._sources, self._notifier = sources, notifier
        self._of = {id(source.camera): source for source in sources}
        self._turns = CameraTurns([source.camera for source in sources])
        self._stopping = False
        self._frames = 0
        self._machine: Machine | None = None
        self._machine_ns = 0
        # A file that waits for each of its frames is read as fast as they are done.
        self._paced = not any(source.camera.settings.every_frame for source in sources)
        self._busy, self._efforts, self._throttle = BusyMeter(time.monotonic_ns()), EffortPolicy(), Throttle()

    def stop(self) -> None:
        """Ask the loop to end after the frame in hand; safe from a signal handler."""
        self._stopping = True

    def ask_reload(self) -> None:
        """Ask for the settings to be read anew after the frame in hand; safe from a signal handler."""
        self._reload_asked = True

    def run(self, limits: Limits | None = None) -> list[Status]:
        """Run until stopped, until every source ended, or until a limit.

        Args:
            limits: When to stop by itself.

        Returns:
            The last status of each source, which says how the run went.

        Raises:
            CameraError: If no source can ever work.
            BackendError: If the last back end failed.
        """
        # What was loaded stays: a collection in the middle of a frame need not look through it.
        gc.collect()
        gc.freeze()
        limits, begun_ns = limits or Limits(), time.monotonic_ns()
        self._notifier.ready(f"publishing on {self._sources[0].outputs.endpoint}")
        while not self._stopping:
            now_ns = time.monotonic_ns()
            if limits.seconds is not None and now_ns - begun_ns >= limits.seconds * 1e9:
                break
            if self._reload_asked and self._reload is not None:
                self._reload_asked = False
                self._reload()
            self._turns.wait(min(source.daemon.wait_s(now_ns) for source in self._sources))
            began_ns = time.monotonic_ns()
            self._round(limits.frames)
            self._pace(began_ns, time.monotonic_ns())
            if self._frames == limits.frames or all(source.over for source in self._sources):
                break
            self._report()
        self._notifier.stopping()
        return [self._send_status(source) for source in self._sources]

    def _pace(self, began_ns: int, now_ns: int) -> None:
        """Do less for each frame where there is too little time for all, and more again where there is."""
        busy = self._busy.spent(began_ns, now_ns)
        if busy is None or not self._paced:
            return
        if self._efforts.step(now_ns, busy):
            cause = self._throttle.cause() if self._efforts.level else ""
            for source in self._sources:
                source.daemon.ease(self._efforts.effort, cause == "thermal")
            log_line("effort", level=self._efforts.level, cause=cause or None, busy=round(busy, 2))

    def _round(self, most: int | None) -> None:
        """One step of each source that has something new."""
        stepped, waiting = set[int](), list[_Waiting]()
        for reading in self._turns.read():
            source = self._of[id(reading.camera)]
            if reading.error is not None:
                self._fail(source, reading.error)
            frame, now_ns = reading.frame, time.monotonic_ns()
            stepped.add(id(source))
            begun = source.daemon.begin(frame, now_ns, source.report)
            self._frames += frame is not None
            if frame is not None and begun.encodes and len(self._sources) > 1:
                waiting.append(_Waiting(source, begun, frame))
            else:
                self._finish(source, begun, frame)
            if self._frames == most or self._stopping:
                break
        if len(waiting) > 1:
            try:
                encode_together([each.step.frame for each in waiting if each.step.frame is not None])
            except BackendError as error:
                waiting[0].source.daemon.fall_back(error)
        for each in waiting:
            self._finish(each.source, each.step, each.frame)
        for source in self._sources:
            if id(source) not in stepped:
                self._finish(source, source.daemon.begin(None, time.monotonic_ns(), source.report), None)

    def _finish(self, source: Source, begun: BegunStep, frame: Frame | None) -> None:
        for message in source.daemon.finish(begun, time.monotonic_ns()):
            self._send(source, message, frame)

    def _fail(self, source: Source, error: CameraError) -> None:
        source.failure = str(error)
        if all(each.failure for each in self._sources):
            raise error

    def _report(self) -> None:
        """Statuses that are due, new subscribers, the watchdog."""
        fresh = True
        for source in self._sources:
            if source.daemon.status_due(time.monotonic_ns()):
                self._send_status(source)
            fresh &= source.daemon.sent(time.monotonic_ns())
        self._sources[0].outputs.serve()
        self._notifier.feed(time.monotonic_ns(), fresh)

    def _send_status(self, source: Source) -> Status:
        now_ns = time.monotonic_ns()
        if self._machine is None or now_ns - self._machine_ns > _MACHINE_NS or len(self._sources) == 1:
            self._machine, self._machine_ns = Machine.read(), now_ns
        status = source.daemon.status(time.monotonic_ns(), source.report, self._machine, source.outputs.counts)
        self._send(source, status)
        return status

    def _send(self, source: Source, message: Message, frame: Frame | None = None) -> None:
        # Not `|=`: it would undo a stop that a signal asks for during the sending.
        if not source.outputs.send(message, frame):
            self._stopping = True


def encode_together(frames: Sequence[BegunFrame]) -> None:
    """Encode and score what begun frames of several cameras wait for, in one call.

    A unit among four costs half of one alone, a score two fifths: the weights are read once (3.4 → 1.7 ms, 1.2 → 0.5
    ms, one thread of an EPYC, default model, 2026-11-28).

    Raises:
        BackendError: If the back end fails.
    """
    steps = [(begun, step) for begun in frames if (step := begun.pipeline.waiting(begun)) is not None]
    if len(steps) < 2:
        return
    began = time.monotonic_ns()
    step_together([step for _, step in steps])
    unit_ms = (time.monotonic_ns() - began) / 1e6 / sum(len(step.batch.units) for _, step in steps)
    for begun, step in steps:
        units = len(step.batch.units)
        begun.pipeline.stepped(begun, StepResult(step.batch.faces, unit_ms * units, units))
