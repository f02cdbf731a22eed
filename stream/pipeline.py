"""The chain, read top to bottom: frame → track → crop → encode → ring → head → calibrate → faces of a message.

No camera, socket or sleep here: a function of the frames it is given and what it remembers of them.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Protocol

from engine.backends import Backend
from stream.camera.frame import Frame
from stream.camera.pixels import Pixels
from stream.faces import FacesResult, TrackedFace
from stream.faces.primary import Box, primary_face
from stream.publish.message import Eyes, Face, Window
from stream.scores.held import HeldFaces
from stream.scores.look import Looks, describe, head_of
from stream.scores.scorer import FaceScores, Scorer
from stream.window.clock import SampleClock
from stream.window.crop import crop_face
from stream.window.overlap import Overlap, StepResult
from stream.window.result import WindowReport
from stream.window.scheduler import Scheduler
from stream.window.windows import EncodeBatch, FaceWindows

GAP_MIN_NS = 250_000_000
GAP_PERIODS = 2.5
"""A window survives this long without an observation of its face: 250 ms or this many frame periods."""
STALE_NS = 500_000_000
"""A label of this moment rests on a sample no older than this: an expression is to be left within half a second."""
FRAMES_PER_STEP = 1.5
"""Frame periods that a step may take before it moves beside the frames."""


@dataclass(frozen=True)
class FrameResult:
    """What one frame showed.

    Attributes:
        faces: As the message carries them.
        elapsed_ns: Time the whole step took.
        detect_ms: Time spent finding and following faces.
        infer_ms: Time that encoding and scoring took; None where no step was finished with this frame.
        degraded: What ran below its setting.
        new: Ids of faces that appeared.
        lost: Ids of faces that are gone.
        cut: Whether a shot cut was seen: windows begin anew, unless the next frame shows that it was none.
    """

    faces: list[Face]
    elapsed_ns: int
    detect_ms: float
    infer_ms: float | None
    degraded: list[str]
    new: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    cut: bool = False


class Tracker(Protocol):
    """Finds and follows faces; :class:`stream.faces.FaceTracker` is the one."""

    def step(self, image: Pixels, t_ns: int) -> FacesResult:
        """The faces of one frame captured at `t_ns`."""

    def reset(self) -> None:
        """Forget every face."""


class FramePeriod:
    """The camera's period as its capture times show it: the median of the last intervals."""

    def __init__(self, default_ns: int = 33_333_333, keep: int = 15) -> None:
        self._default_ns = default_ns
        self._intervals: deque[int] = deque(maxlen=keep)
        self._last_ns: int | None = None

    def step(self, t_ns: int) -> int:
        """Take one capture time; returns the period, ns."""
        if self._last_ns is not None and t_ns > self._last_ns:
            self._intervals.append(t_ns - self._last_ns)
        self._last_ns = t_ns
        return int(median(self._intervals)) if self._intervals else self._default_ns

    def reset(self) -> None:
        """A new source may have another rate."""
        self._intervals.clear()
        self._last_ns = None


class Pipeline:
    """Everything between a frame and the faces of a message.

    Args:
        tracker: Finds and follows faces.
        windows: Encodes and scores.
        scorer: Calibrates and labels.
        scheduler: Says who is sampled when there is too little time for all.
        roi: Region of the primary face, shares of the frame.
        overlap: Whether long steps may run beside the following frames.
    """

    def __init__(
        self,
        tracker: Tracker,
        windows: FaceWindows,
        scorer: Scorer,
        scheduler: Scheduler,
        roi: Box = (0.0, 0.0, 1.0, 1.0),
        overlap: bool = False,
    ) -> None:
        self._tracker, self._windows, self._scorer, self._scheduler = tracker, windows, scorer, scheduler
        self._roi, self._overlap = roi, Overlap(windows, overlap)
        self._sample_ns = 1e9 / windows.encode_hz
        self._clock = SampleClock(windows.encode_hz)
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
        """Process one frame.

        Args:
            frame: A picture with its capture time and number.

        Returns:
            The faces it shows, with their scores.
        """
        started = time.monotonic_ns()
        t_ns = frame.t_capture_ns
        if (held := self._held.hold(t_ns, frame.fault)) is not None:
            return FrameResult(held, time.monotonic_ns() - started, 0.0, None, [frame.fault])
        period_ns = self._period.step(t_ns)
        gap_limit_ns = max(GAP_MIN_NS, int(GAP_PERIODS * period_ns))
        tracked = self._tracker.step(frame.pixels, t_ns)
        if not tracked.revoked:
            for face_id in self._cut_off:
                self._forget(face_id)
        self._cut_off = [face.id for face in tracked.faces if face.state == "lost"] if tracked.cut else []
        visible = [face for face in tracked.faces if _observed(face)]
        for face_id in self._windows.observe((face.id for face in visible), t_ns, gap_limit_ns):
            self._scorer.restart(face_id)
        height, width = frame.pixels.shape[:2]
        primary = primary_face(((face.id, face.box) for face in visible), self._roi, width, height)
        detected = time.monotonic_ns()

        tick = self._clock.advance(t_ns)
        degraded: list[str] = []
        done = self._account(self._overlap.collect(wait=tick is not None))
        if tick is not None and visible:
            batch, degraded = self._sample(tick, visible, primary, frame)
            done = self._account(self._overlap.step(batch, self._limit_ms(period_ns, detected - started))) or done

        faces = [self._describe(face, face.id == primary, t_ns) for face in tracked.faces]
        lost = [face.id for face in tracked.faces if face.state == "lost"]
        for face_id in lost:
            if face_id not in self._cut_off:
                self._forget(face_id)
        new = [face.id for face in tracked.faces if face.state == "new"]
        self._held.keep(faces, t_ns, frame.fault)
        degraded += [frame.fault] if frame.fault else []
        infer_ms = None if done is None else done.elapsed_ms
        elapsed_ns = time.monotonic_ns() - started
        return FrameResult(faces, elapsed_ns, (detected - started) / 1e6, infer_ms, degraded, new, lost, tracked.cut)

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
        self._windows.replace_backend(backend)
        self._scorer.reset_all()

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
        reason = self._looks.reason(face.id, _reason(face, window, scored, t_ns))
        described = Face(
            id=face.id,
            state=face.state,
            age_frames=face.age_frames,
            primary=primary,
            box=_rounded(face.box),
            score=round(float(face.score), 4),
            ready=reason == "ok",
            reason=reason,
            window=Window(window.n, window.need, round(window.span_ms, 1), window.gaps),
            quality=describe(face.size_px, face.sharpness, face.yaw_deg, face.pitch_deg, self._looks.of(face.id)),
            head=head_of(face),
        )
        if face.signals is not None:
            described.eyes = Eyes(_round(face.signals.left_eye, 3), _round(face.signals.right_eye, 3))
            described.mouth_open = _round(face.signals.mouth, 3)
        if scored is not None:
            described.logits, described.probs, described.now = scored.logits, scored.probs, scored.now
            described.smoothed, described.relevance = scored.smoothed, scored.relevance
            described.neutral_shift = scored.neutral_shift
            described.scored_frame_id = scored.frame_id
            described.score_age_ms = round((t_ns - scored.t_ns) / 1e6, 1)
            if described.ready:
                described.label, described.confidence = scored.label, scored.confidence
                described.onset_ns = scored.onset_ns
        return described


def _observed(face: TrackedFace) -> bool:
    return face.state in ("new", "tracked") and face.points5 is not None


def _reason(face: TrackedFace, window: WindowReport, scored: FaceScores | None, t_ns: int) -> str:
    observed = _observed(face)
    if scored is not None and scored.moment == "now" and face.state != "lost":
        # As with the window, a face that blinks out of sight for a moment is still the one that was seen.
        if t_ns - scored.t_ns <= (STALE_NS if observed else GAP_MIN_NS):
            return "ok"
        return "starved" if observed else "occluded"
    if not observed or scored is None or not scored.ready:
        return "warming" if observed else "occluded"
    return "starved" if window.starved else "ok"


def _round(value: float | None, digits: int) -> float | None:
    return None if value is None else round(float(value), digits)


def _rounded(box: Box) -> Box:
    x, y, w, h = (round(float(value), 1) for value in box)
    return x, y, w, h
