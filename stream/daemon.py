"""The daemon: read → process → publish, until it is told to stop.

Every decision is made elsewhere: the camera says how it is, the pipeline what a frame shows, health how the whole is.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec

from engine.backends import BackendError
from stream import __version__
from stream.camera.camera import Camera
from stream.camera.frame import Frame
from stream.envelope import Envelope
from stream.health.health import Health, Heartbeats, rounded
from stream.health.machine import memory_mb, temperatures_c
from stream.health.notify import Notifier
from stream.model import LoadedModel
from stream.pipeline import Pipeline, Seen
from stream.publish.message import Faces, Message, Status
from stream.publish.publisher import Publisher
from stream.publish.wire import encode
from stream.show.sinks import Sink, log_line
from stream.window.windows import FaceWindows

NO_FRAME_HZ = 2.0
"""Messages per second while there is no fresh frame."""
STAGE_LIMIT_S = 10.0
"""A stage silent for longer starves the watchdog."""


@dataclass(frozen=True)
class Limits:
    """When to stop by itself.

    Attributes:
        frames: After this many processed frames; None for never.
        seconds: After this long; None for never.
    """

    frames: int | None = None
    seconds: float | None = None


class Daemon:
    """One camera, one model, one publisher.

    Args:
        camera: Started.
        model: Open.
        pipeline: Over that model.
        windows: The pipeline's, to give them another back end when one fails.
        publisher: Bound.
        sinks: Who else sees the messages.
        notifier: The service manager.
        status_hz: Health messages per second.
    """

    def __init__(
        self,
        camera: Camera,
        model: LoadedModel,
        pipeline: Pipeline,
        windows: FaceWindows,
        publisher: Publisher,
        sinks: Sequence[Sink],
        notifier: Notifier,
        status_hz: float = 1.0,
    ) -> None:
        self._camera, self._model, self._pipeline, self._windows = camera, model, pipeline, windows
        self._publisher, self._sinks, self._notifier = publisher, sinks, notifier
        self._envelope = Envelope(publisher.source, model.identity())
        self._status_ns = int(1e9 / status_hz)
        now_ns = time.monotonic_ns()
        self.health = Health(now_ns)
        self._hearts = Heartbeats(
            {"camera": STAGE_LIMIT_S, "pipeline": STAGE_LIMIT_S, "publish": STAGE_LIMIT_S}, now_ns
        )
        self._next_status_ns = self._next_no_frame_ns = now_ns
        self._live = False
        self._stopping = False
        self._note: str | None = None
        self._final: dict[str, object] = {}
        if model.backend.degraded:
            self.health.degraded.add("backend")
            self._note = model.backend.reason

    def stop(self) -> None:
        """Ask the loop to end after the frame in hand; safe from a signal handler."""
        self._stopping = True

    def run(self, limits: Limits | None = None, started: Callable[[], None] | None = None) -> None:
        """Run until stopped, until the source ended, or until a limit.

        Args:
            limits: When to stop by itself.
            started: Called once the first message is out.

        Raises:
            CameraError: If the source can never work.
            BackendError: If the last back end failed.
        """
        limits = limits or Limits()
        begun_ns = time.monotonic_ns()
        processed = 0
        self._notifier.ready(f"publishing on {self._publisher.endpoint}")
        while not self._stopping:
            now_ns = time.monotonic_ns()
            if limits.seconds is not None and now_ns - begun_ns >= limits.seconds * 1e9:
                break
            frame = self._camera.read(self._patience_s(now_ns))
            now_ns = time.monotonic_ns()
            self._hearts.beat("camera", now_ns)
            if frame is not None:
                self._process(frame)
                processed += 1
                if processed == 1 and started is not None:
                    started()
                if limits.frames is not None and processed >= limits.frames:
                    break
            elif self._camera.state == "ended":
                break
            elif self._camera.state != "ok":
                self._without_frame(now_ns)
            self._report(time.monotonic_ns())
        self._notifier.stopping()
        self._publish_status()

    def close(self) -> None:
        """Close everything this daemon was given."""
        for sink in self._sinks:
            sink.close()
        self._camera.close()
        self._publisher.close()
        self._pipeline.close()
        self._model.backend.close()
        self._notifier.close()

    def _patience_s(self, now_ns: int) -> float:
        """How long a read may wait: until the next thing is due."""
        due_ns = self._next_status_ns
        if not self._live:
            due_ns = min(due_ns, self._next_no_frame_ns)
        return min(max((due_ns - now_ns) / 1e9, 0.001), 0.25)

    def _process(self, frame: Frame) -> None:
        started_ns = time.monotonic_ns()
        self.health.captured(started_ns)
        if not self._live:
            self._live = True
            self._event("camera_ok")
        try:
            seen = self._pipeline.step(frame)
        except BackendError as error:
            self._fall_back(error)
            return
        self._hearts.beat("pipeline", time.monotonic_ns())
        for face_id in seen.new:
            self._event("face_new", face_id)
        stats = self._camera.stats
        self.health.dropped_total, self.health.reconnects_total = stats.dropped, stats.reconnects
        rate_hz = stats.fps or self.health.frames_out.hz(started_ns)
        message = self._envelope.faces(
            frame, seen, started_ns, stats.dropped, rounded(rate_hz), sorted(self.health.degraded)
        )
        self._publish(message, frame)
        self._measure(message, seen)
        for face_id in seen.lost:
            self._event("face_lost", face_id)

    def _measure(self, message: Faces, seen: Seen) -> None:
        late = message.latency_ms
        for stage, ms in (
            ("capture", late.capture),
            ("detect", late.detect),
            ("infer", late.infer),
            ("total", late.total),
        ):
            if ms is not None:
                self.health.took(stage, ms)

    def _without_frame(self, now_ns: int) -> None:
        if self._live:
            self._live = False
            self._pipeline.reset()
            self._event("camera_lost")
            self._next_no_frame_ns = now_ns
        # A file that is still opening is no camera that was lost.
        opening = self._camera.uri.is_file and not self.health.frames_total
        if now_ns >= self._next_no_frame_ns and not opening:
            self._next_no_frame_ns = now_ns + int(1e9 / NO_FRAME_HZ)
            reason = self._camera.state
            self._publish(
                self._envelope.no_frame(reason, self._camera.stats.dropped, NO_FRAME_HZ, sorted(self.health.degraded)),
                None,
            )
        self._hearts.beat("pipeline", now_ns)

    def _fall_back(self, error: BackendError) -> None:
        """The back end failed: this frame is lost, the next one runs on another."""
        self.health.backend_faults_total += 1
        self.health.degraded.add("backend")
        failed = self._model.backend.name
        log_line("backend_failed", backend=failed, error=str(error))
        backend = self._model.fall_back()
        self._windows.replace_backend(backend)
        self._pipeline.backend_changed()
        self._envelope.model = self._model.identity()
        self._note = f"{failed} failed ({error}); running on {backend.name}"
        log_line("backend_changed", backend=backend.name, reason=backend.reason)

    def _report(self, now_ns: int) -> None:
        if now_ns >= self._next_status_ns:
            # A period missed altogether is left out: two statuses at once would say the same.
            behind = now_ns - self._next_status_ns >= self._status_ns
            self._next_status_ns = (now_ns if behind else self._next_status_ns) + self._status_ns
            self._publish_status()
        self._publisher.serve()
        self._hearts.beat("publish", now_ns)
        self._notifier.feed(now_ns, not self._hearts.stale(now_ns))

    def _event(self, event: str, face: str | None = None) -> None:
        self._publish(self._envelope.event(event, face), None)

    def final_stats(self) -> dict[str, object]:
        """The last status message as plain values, for a benchmark."""
        return self._final

    def _publish_status(self) -> None:
        now_ns = time.monotonic_ns()
        stale = self._hearts.stale(now_ns)
        camera, stats, counts = self._camera.state, self._camera.stats, self._publisher.counts
        status = Status(
            source=self._envelope.source,
            session=self._envelope.session,
            seq=self._envelope.next_seq("status"),
            boot_id=self._envelope.boot_id,
            t_publish_ns=now_ns,
            t_publish_unix_ns=time.time_ns(),
            uptime_s=round((now_ns - self.health.started_ns) / 1e9, 3),
            state=self.health.state(camera, stale),
            camera=camera,
            version=__version__,
            rate_hz=rounded(1e9 / self._status_ns),
            degraded=sorted(self.health.degraded),
            stale=stale,
            declared_hz=rounded(stats.fps or None),
            rate_in_hz=rounded(self.health.frames_in.hz(now_ns)),
            rate_out_hz=rounded(self.health.frames_out.hz(now_ns)),
            frames_total=self.health.frames_total,
            published_total=counts.published,
            dropped_total=stats.dropped,
            refused_total=counts.refused,
            reconnects_total=stats.reconnects,
            backend_faults_total=self.health.backend_faults_total,
            latency_ms=self.health.latency_ms(),
            temperature_c=temperatures_c(),
            memory_mb=memory_mb(),
            model=self._envelope.model,
            note=self._note or (stats.message or None if camera not in ("ok", "ended") else None),
        )
        self._final = msgspec.to_builtins(status)
        self._publish(status, None)

    def _publish(self, message: Message, frame: Frame | None) -> None:
        body = encode(message)
        if isinstance(message, Faces):
            self._publisher.faces(body)
            self.health.published(message.t_publish_ns)
        elif isinstance(message, Status):
            self._publisher.status(body)
        else:
            self._publisher.event(body)
        for sink in self._sinks:
            if not sink.take(message, body, frame):
                self._stopping = True
