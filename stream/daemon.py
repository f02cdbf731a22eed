"""What the daemon publishes, frame by frame: no socket, no thread, no clock of its own.

``loop.py`` receives frames, calls :meth:`Daemon.step` and sends what comes back. Every decision is made elsewhere: the
camera says how it is, the pipeline what a frame shows, health how the whole is.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from engine.backends import BackendError
from engine.text import printable
from stream import __version__
from stream.assemble import LoadedModel, build_scorer
from stream.camera.frame import Frame
from stream.camera.stats import CameraReport
from stream.config import Settings
from stream.envelope import Envelope
from stream.health.effort import Effort
from stream.health.health import Health, Heartbeats, rounded
from stream.health.machine import Machine
from stream.pipeline import BegunFrame, Pipeline
from stream.publish.message import Event, Faces, Message, Status
from stream.publish.publisher import PublishCounts
from stream.reactions.reactions import Reactions
from stream.show.sinks import log_line

NO_FRAME_HZ = 2.0
"""Messages per second while there is no fresh frame."""
STAGE_LIMIT_S = 10.0
"""A stage silent for longer starves the watchdog."""
LONGEST_WAIT_S = 0.25
"""Longest that a frame is waited for before the loop goes round."""

NOT_CALIBRATED = "the model was never calibrated: its scores are no probabilities; dfer-calibrate fit"
"""``Status.note`` of such a model."""


@dataclass
class BegunStep:
    """A step whose frame is not encoded yet.

    Attributes:
        now_ns: When the read returned.
        camera: What the camera said of itself.
        messages: To be published, so far.
        frame: What :meth:`Daemon.finish` has left to do; None for nothing.
    """

    now_ns: int
    camera: CameraReport
    messages: list[Message]
    frame: BegunFrame | None = None

    @property
    def encodes(self) -> bool:
        """Whether there is something to encode."""
        return self.frame is not None and self.frame.batch is not None


class Daemon:
    """One camera's frames, through one pipeline, to messages. A function of what it is given and when.

    Args:
        source: The source's name.
        model: Open.
        pipeline: Over that model.
        now_ns: When it starts, CLOCK_MONOTONIC, as every time here.
        status_hz: Health messages per second.
        log: Takes an event and its values, for people.
    """

    def __init__(
        self,
        source: str,
        model: LoadedModel,
        pipeline: Pipeline,
        now_ns: int,
        status_hz: float = 1.0,
        log: Callable[..., None] = log_line,
    ) -> None:
        self._model, self._pipeline, self._log = model, pipeline, log
        self._envelope = Envelope(source, model.identity())
        self._health = Health(now_ns)
        self._hearts = Heartbeats(dict.fromkeys(("camera", "pipeline", "publish"), STAGE_LIMIT_S), now_ns)
        self._reactions = Reactions()
        self._status_ns = int(1e9 / status_hz)
        self._next_status_ns = self._next_no_frame_ns = now_ns
        self._live = False
        self._note: str | None = None
        self._said: deque[str] = deque(maxlen=8)
        self._backend = model.backend
        if model.backend.degraded:
            self._health.degraded.add("backend")
            self._note = printable(model.backend.reason)

    @staticmethod
    def _absence(camera: CameraReport) -> str | None:
        return printable(camera.message) or None if camera.state not in ("ok", "ended") else None

    def change(self, settings: Settings) -> None:
        """Go on with other settings of this source, as :mod:`stream.reload` lets them change."""
        self._status_ns = int(1e9 / settings.publish.status_hz)
        self._pipeline.change(settings.faces, build_scorer(settings, self._model), settings.source.roi)

    def ease(self, effort: Effort, hot: bool) -> None:
        """Do as much for each frame as there is time for; `degraded` says where that is not all."""
        self._pipeline.ease(effort)
        self._health.degraded -= {"scheduler", "thermal"}
        if effort != Effort():
            self._health.degraded.add("thermal" if hot else "scheduler")

    def step(self, frame: Frame | None, now_ns: int, camera: CameraReport) -> list[Message]:
        """Process what one read of the camera gave; the same as :meth:`begin` and :meth:`finish`.

        Args:
            frame: The frame, or None where there was none in time.
            now_ns: When the read returned.
            camera: What the camera says of itself.

        Returns:
            What is to be published, in this order.

        Raises:
            BackendError: If the last back end failed.
        """
        begun = self.begin(frame, now_ns, camera)
        return self.finish(begun, now_ns + (begun.frame.elapsed_ns if begun.frame is not None else 0))

    def begin(self, frame: Frame | None, now_ns: int, camera: CameraReport) -> BegunStep:
        """As :meth:`step`, until something is to be encoded."""
        self._hearts.beat("camera", now_ns)
        self._adopt_backend()
        if frame is not None:
            begun = self._begin_frame(frame, now_ns, camera)
        else:
            waits = camera.state in ("ok", "ended")
            begun = BegunStep(now_ns, camera, [] if waits else self._without_frame(now_ns, camera))
        self._say(camera)
        return begun

    def finish(self, begun: BegunStep, now_ns: int) -> list[Message]:
        """The rest of a step that :meth:`begin` began; returns and raises as :meth:`step`."""
        messages, camera = begun.messages, begun.camera
        if begun.frame is None:
            return messages
        begun_ns = begun.frame.elapsed_ns
        try:
            result = self._pipeline.finish(begun.frame)
        except BackendError as error:
            self.fall_back(error)
            return messages
        done_ns = now_ns + result.elapsed_ns - begun_ns
        self._hearts.beat("pipeline", done_ns)
        rate_hz = rounded(camera.fps or self._health.frames_out.hz(begun.now_ns))
        messages += [self._envelope.event("face_new", done_ns, face_id) for face_id in result.new]
        degraded = sorted(self._health.degraded)
        faces = self._envelope.faces(
            begun.frame.frame, result, begun.now_ns, done_ns, camera.dropped, rate_hz, degraded
        )
        self._health.published(faces)
        messages.append(faces)
        messages += self._reactions_to(faces)
        messages += [self._envelope.event("face_lost", done_ns, face_id) for face_id in result.lost]
        return messages

    def status_due(self, now_ns: int) -> bool:
        """Whether it is time for :meth:`status`."""
        return now_ns >= self._next_status_ns

    def status(self, now_ns: int, camera: CameraReport, machine: Machine, counts: PublishCounts) -> Status:
        """How the whole is; also the last message before the end.

        Args:
            now_ns: Now.
            camera: What the camera says of itself.
            machine: What the machine says of itself.
            counts: What was published.
        """
        if self.status_due(now_ns):
            # A period missed altogether is left out: two statuses at once would say the same.
            behind = now_ns - self._next_status_ns >= self._status_ns
            self._next_status_ns = (now_ns if behind else self._next_status_ns) + self._status_ns
        health, stale = self._health, self._hearts.stale(now_ns)
        self._envelope.unix_error_ns = machine.unix_error_ns
        return Status(
            source=self._envelope.source,
            session=self._envelope.session,
            seq=self._envelope.next_seq("status"),
            boot_id=self._envelope.boot_id,
            t_publish_ns=now_ns,
            t_publish_unix_ns=machine.t_unix_ns,
            uptime_s=round((now_ns - health.started_ns) / 1e9, 3),
            state=health.state(camera.state, stale),
            camera=camera.state,
            version=__version__,
            rate_hz=rounded(1e9 / self._status_ns),
            degraded=sorted(health.degraded),
            stale=stale,
            declared_hz=rounded(camera.fps or None),
            rate_in_hz=rounded(health.frames_in.hz(now_ns)),
            rate_out_hz=rounded(health.frames_out.hz(now_ns)),
            frames_total=health.frames_total,
            published_total=counts.published,
            dropped_total=camera.dropped,
            refused_total=counts.refused,
            reconnects_total=camera.reconnects,
            backend_faults_total=health.backend_faults_total,
            latency_ms=health.latency_ms(),
            temperature_c=machine.temperature_c,
            memory_mb=machine.memory_mb,
            t_unix_error_ns=machine.unix_error_ns,
            subscribers=counts.gate.connected,
            sent_away_total=counts.gate.refused + counts.gate.expelled,
            model=self._envelope.model,
            note=self._note or self._absence(camera) or (None if self._model.calibration.name else NOT_CALIBRATED),
        )

    def sent(self, now_ns: int) -> bool:
        """Take note that everything is sent; returns whether every stage is fresh, so that the watchdog may be fed."""
        self._hearts.beat("publish", now_ns)
        return not self._hearts.stale(now_ns)

    def wait_s(self, now_ns: int) -> float:
        """How long the next read may wait: until the next message is due."""
        due_ns = self._next_status_ns if self._live else min(self._next_status_ns, self._next_no_frame_ns)
        return min(max((due_ns - now_ns) / 1e9, 0.001), LONGEST_WAIT_S)

    def _say(self, camera: CameraReport) -> None:
        """Log what the camera says of a loss or a frame, once until it is lost anew."""
        if camera.message and camera.message not in self._said:
            self._said.append(camera.message)
            self._log("camera", source=self._envelope.source, state=camera.state, message=camera.message)

    def _begin_frame(self, frame: Frame, now_ns: int, camera: CameraReport) -> BegunStep:
        self._health.captured(now_ns)
        begun = BegunStep(now_ns, camera, [])
        if not self._live:
            self._live = True
            begun.messages.append(self._envelope.event("camera_ok", now_ns))
        try:
            begun.frame = self._pipeline.begin(frame)
        except BackendError as error:
            self.fall_back(error)
        return begun

    def _without_frame(self, now_ns: int, camera: CameraReport) -> list[Message]:
        messages: list[Message] = []
        if self._live:
            self._live = False
            self._said.clear()
            self._pipeline.reset()
            messages.append(self._envelope.event("camera_lost", now_ns))
            self._next_no_frame_ns = now_ns
        # A file that is still opening is no camera that was lost.
        opening = camera.is_file and not self._health.frames_total
        if now_ns >= self._next_no_frame_ns and not opening:
            self._next_no_frame_ns = now_ns + int(1e9 / NO_FRAME_HZ)
            degraded = sorted(self._health.degraded)
            faces = self._envelope.no_frame(camera.state, now_ns, camera.dropped, NO_FRAME_HZ, degraded)
            self._health.published(faces)
            messages.append(faces)
            messages += self._reactions_to(faces)
        self._hearts.beat("pipeline", now_ns)
        return messages

    def _reactions_to(self, faces: Faces) -> list[Event]:
        return [
            self._envelope.event(each.event, faces.t_publish_ns, each.face, each.onset_ns, each.delay_ms)
            for each in self._reactions.step(faces)
        ]

    def fall_back(self, error: BackendError) -> None:
        """The back end failed: this frame is lost, the next one, of every source, runs on another.

        Raises:
            BackendError: If none is left.
        """
        self._health.backend_faults_total += 1
        failed = self._model.backend.name
        self._log("backend_failed", backend=failed, error=str(error))
        backend = self._model.fall_back()
        self._adopt_backend(f"{failed} failed ({error}); running on {backend.name}")
        self._log("backend_changed", backend=backend.name, reason=backend.reason)

    def _adopt_backend(self, why: str = "") -> None:
        """Say which back end runs, where another source found out that the one before had failed."""
        if self._model.backend is not self._backend:
            self._backend = self._model.backend
            self._health.degraded.add("backend")
            self._envelope.model = self._model.identity()
            self._note = printable(why or f"running on {self._backend.name}: {self._backend.reason}")
