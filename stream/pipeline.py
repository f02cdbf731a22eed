"""The chain, read top to bottom: frame → track → crop → encode → ring → head → calibrate → faces of a message.

No camera, socket or sleep here: a function of the frames it is given and what it remembers of them.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from engine.backends import Backend
from stream.camera.frame import Frame
from stream.camera.pixels import Pixels
from stream.faces import FaceSettings, FacesResult, TrackedFace
from stream.faces.primary import Box, primary_face
from stream.health.effort import Effort
from stream.publish.message import Face
from stream.scores.described import GAP_MIN_NS, FrameResult, face_message, observed
from stream.scores.held import HeldFaces
from stream.scores.look import Looks
from stream.scores.scorer import Scorer
from stream.window.clock import FramePeriod, SampleClock
from stream.window.crop import crop_face
from stream.window.overlap import Overlap, StepResult
from stream.window.result import WindowReport
from stream.window.scheduler import Scheduler
from stream.window.state import EncodeBatch
from stream.window.windows import FaceWindows, WindowStep

GAP_PERIODS = 2.5
"""A window survives this long without an observation of its face: 250 ms or this many frame periods."""
LEAST_SAMPLES_HZ = 4.0
"""The primary face is sampled as often, however little time there is."""
FRAMES_PER_STEP = 1.5
"""Frame periods that a step may take before it moves beside the frames."""


@dataclass
class BegunFrame:
    """A frame whose faces are followed and sampled, and not yet encoded.

    Attributes:
        pipeline: Which began it, and is to finish it.
        frame: What was taken.
        held: Faces that are shown again; the frame was not looked at.
        tracked: What the tracker saw.
        primary: Id of the primary face.
        detect_ns: Time spent finding and following faces.
        elapsed_ns: Time the frame took so far.
        batch: What is to be encoded and scored.
        limit_ms: How long that may take before it runs beside the frames.
        degraded: What ran below its setting.
        done: The step that was finished with this frame.
    """

    pipeline: Pipeline
    frame: Frame
    held: list[Face] | None = None
    tracked: FacesResult | None = None
    primary: str | None = None
    detect_ns: int = 0
    elapsed_ns: int = 0
    batch: EncodeBatch | None = None
    limit_ms: float = math.inf
    degraded: list[str] = field(default_factory=list)
    done: StepResult | None = None


class Tracker(Protocol):
    """Finds and follows faces; :class:`stream.faces.FaceTracker` is the one."""

    def step(self, image: Pixels, t_ns: int) -> FacesResult:
        """The faces of one frame captured at `t_ns`."""

    def reset(self) -> None:
        """Forget every face."""

    def change(self, settings: FaceSettings) -> None:
        """Go on with other settings."""

    def ease(self, pause: float) -> None:
        """Let so many times as long pass between two looks at what only has to be checked."""


class Pipeline:
    """Everything between a frame and the faces of a message.

    Args:
        tracker: Finds and follows faces.
        windows: Encodes and scores.
        scorer: Calibrates and labels.
        scheduler: Says who is sampled when there is too little time for all.
        roi: Region of the primary face, shares of the frame.
        overlap: Whether long steps may run beside the following frames.
        anchor_ns: Capture time of the sample clock's tick 0, common to several cameras; None for the first frame's.
    """

    def __init__(
        self,
        tracker: Tracker,
        windows: FaceWindows,
        scorer: Scorer,
        scheduler: Scheduler,
        roi: Box = (0.0, 0.0, 1.0, 1.0),
        overlap: bool = False,
        anchor_ns: int | None = None,
    ) -> None:
        self._tracker, self._windows, self._scorer, self._scheduler = tracker, windows, scorer, scheduler
        self._roi, self._overlap = roi, Overlap(windows, overlap)
        self._sample_ns = 1e9 / windows.encode_hz
        self._clock = SampleClock(windows.encode_hz, anchor_ns)
        self._period = FramePeriod()
        # Faces of the shot before a cut: their windows wait one frame, in case that it was none.
        self._cut_off: list[str] = []
        self._looks = Looks()
        self._held = HeldFaces()

    @property
    def delay_s(self) -> float:
        """Longest time from a lasting change of a face to its label, s: what each block says of itself.

        The sample's tick, a window of samples where the label speaks for it, smoothing and hysteresis, and the score at
        which the label then changes. Time to compute and the camera's period come on top.
        """
        window_s = 0.0 if self._scorer.moment == "now" else self._windows.delay_s
        return self._clock.delay_s + window_s + self._scorer.delay_s + self._windows.hop_s

    def step(self, frame: Frame) -> FrameResult:
        """Process one frame; the same as :meth:`begin` and :meth:`finish`.

        Args:
            frame: A picture with its capture time and number.

        Returns:
            The faces it shows, with their scores.

        Raises:
            BackendError: If the back end fails.
        """
        return self.finish(self.begin(frame))

    def begin(self, frame: Frame) -> BegunFrame:
        """Follow the faces of a frame and take their samples; what is to be encoded waits for :meth:`finish`.

        Raises:
            BackendError: If a step that ran beside the frames failed.
        """
        started = time.monotonic_ns()
        t_ns = frame.t_capture_ns
        begun = BegunFrame(self, frame)
        begun.held = self._held.hold(t_ns, frame.fault)
        if begun.held is not None:
            return begun
        period_ns = self._period.step(t_ns)
        gap_limit_ns = max(GAP_MIN_NS, int(GAP_PERIODS * period_ns))
        begun.tracked = tracked = self._tracker.step(frame.pixels, t_ns)
        if not tracked.revoked:
            for face_id in self._cut_off:
                self._forget(face_id)
        self._cut_off = [face.id for face in tracked.faces if face.state == "lost"] if tracked.cut else []
        visible = [face for face in tracked.faces if observed(face)]
        for face_id in self._windows.observe((face.id for face in visible), t_ns, gap_limit_ns):
            self._scorer.restart(face_id)
        height, width = frame.pixels.shape[:2]
        begun.primary = primary_face(((face.id, face.box) for face in visible), self._roi, width, height)
        begun.detect_ns = time.monotonic_ns() - started

        tick = self._clock.advance(t_ns)
        begun.done = self._account(self._overlap.collect(wait=tick is not None))
        if tick is not None and visible and self._scheduler.samples(tick):
            begun.batch, begun.degraded = self._sample(tick, visible, begun.primary, frame)
            begun.limit_ms = self._limit_ms(period_ns, begun.detect_ns)
        begun.elapsed_ns = time.monotonic_ns() - started
        return begun

    def finish(self, begun: BegunFrame) -> FrameResult:
        """Encode and score what :meth:`begin` sampled, unless that was done, and describe the faces.

        Raises:
            BackendError: If the back end fails.
        """
        frame, tracked, started = begun.frame, begun.tracked, time.monotonic_ns()
        if begun.held is not None or tracked is None:
            return FrameResult(begun.held or [], begun.elapsed_ns, 0.0, None, [frame.fault])
        if begun.batch is not None:
            begun.done = self._account(self._overlap.step(begun.batch, begun.limit_ms)) or begun.done
        t_ns = frame.t_capture_ns
        faces = [self._describe(face, face.id == begun.primary, t_ns) for face in tracked.faces]
        lost = [face.id for face in tracked.faces if face.state == "lost"]
        for face_id in lost:
            if face_id not in self._cut_off:
                self._forget(face_id)
        new = [face.id for face in tracked.faces if face.state == "new"]
        self._held.keep(faces, t_ns, frame.fault)
        degraded = begun.degraded + ([frame.fault] if frame.fault else [])
        infer_ms = begun.done.elapsed_ms if begun.done else None
        elapsed_ns = begun.elapsed_ns + time.monotonic_ns() - started
        return FrameResult(faces, elapsed_ns, begun.detect_ns / 1e6, infer_ms, degraded, new, lost, tracked.cut)

    def waiting(self, begun: BegunFrame) -> WindowStep | None:
        """What of a begun frame can be encoded in one call with other cameras'; None where it is better not."""
        if begun.batch is None or not begun.batch.units or not self._overlap.stays(begun.limit_ms):
            return None
        return WindowStep(self._windows, begun.batch)

    def stepped(self, begun: BegunFrame, done: StepResult) -> None:
        """Take note that what :meth:`waiting` gave is encoded and scored."""
        begun.batch, begun.done = None, self._account(self._overlap.done(done))
        begun.elapsed_ns += int(done.elapsed_ms * 1e6)

    def _forget(self, face_id: str) -> None:
        self._windows.reset(face_id)
        self._scorer.reset(face_id)
        self._looks.forget(face_id)

    def close(self) -> None:
        """Wait for a step that runs beside the frames; before the back end is closed."""
        self._overlap.close()

    def reset(self) -> None:
        """Forget every face and the time base: a lost camera or another source."""
        self._cut_off, self._looks = [], Looks()
        self._held.forget()
        self._tracker.reset()
        self._windows.reset_all()
        self._scorer.reset_all()
        self._clock.reset()
        self._period.reset()

    def replace_backend(self, backend: Backend) -> None:
        """Go on with another back end; features of two back ends never mix, so every window starts anew."""
        self._overlap.close()
        self._windows.replace_backend(backend)
        self._scorer.reset_all()

    def change(self, faces: FaceSettings, scorer: Scorer, roi: Box) -> None:
        """Go on with other settings; every face keeps its id, its window and what was smoothed."""
        self._tracker.change(faces)
        scorer.take_over(self._scorer)
        self._scorer, self._roi = scorer, roi

    def ease(self, effort: Effort) -> None:
        """Do as much for each frame as there is time for."""
        self._tracker.ease(effort.pause)
        # A label of this moment rests on a sample of the last half second.
        slow = self._windows.encode_hz < LEAST_SAMPLES_HZ * effort.ticks
        self._scheduler.share, self._scheduler.ticks = effort.share, 1 if slow else effort.ticks

    def _limit_ms(self, period_ns: int, detect_ns: int) -> float:
        """How long a step may take before it runs beside the frames.

        The camera's slot holds one frame, so a step may run half into the next frame's turn. Where every frame is a
        sample there is nothing to do meanwhile, and a thread would only cost time.
        """
        if self._sample_ns < FRAMES_PER_STEP * period_ns:
            return math.inf
        return (FRAMES_PER_STEP * period_ns - detect_ns) / 1e6

    def _account(self, done: StepResult | None) -> StepResult | None:
        """Tell the scheduler what a finished step cost."""
        if done is not None:
            self._scheduler.spent(done.faces, done.elapsed_ms)
        return done

    def _sample(
        self, tick: int, visible: Sequence[TrackedFace], primary: str | None, frame: Frame
    ) -> tuple[EncodeBatch, list[str]]:
        """Crop this tick's faces; returns the work and what is degraded."""
        chosen = set(self._scheduler.choose([face.id for face in visible], primary))
        crops = {}
        for face in visible:
            if face.id in chosen and face.points5 is not None:
                crops[face.id] = crop_face(frame.pixels, face.points5, self._windows.spec.crop)
                self._looks.step(face.id, frame.pixels, face.points5)
        batch = self._windows.begin(tick, crops, frame.t_capture_ns, frame.seq)
        return batch, ["scheduler"] if len(chosen) < len(visible) else []

    def _describe(self, face: TrackedFace, primary: bool, t_ns: int) -> Face:
        # A face that a cut took away is shown without its window, which is kept in case that the cut was none.
        cut_off = face.id in self._cut_off
        window = WindowReport(0, self._windows.spec.samples, 0.0, 0, None) if cut_off else self._windows.report(face.id)
        scored = None if window.score is None else self._scorer.step(face.id, window.score, window.score.full)
        return face_message(face, primary, window, scored, self._looks, t_ns)
