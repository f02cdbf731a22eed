"""A face as the message carries it: what was seen, how full its window is, what was scored. And a frame of them."""

from __future__ import annotations

from dataclasses import dataclass, field

from stream.faces import TrackedFace
from stream.faces.primary import Box
from stream.publish.message import Eyes, Face, Window
from stream.scores.look import Looks, describe, head_of
from stream.scores.scorer import FaceScores
from stream.window.result import WindowReport

GAP_MIN_NS = 250_000_000
"""A window survives at least this long without an observation of its face."""
STALE_NS = 500_000_000
"""A label of this moment rests on a sample no older than this: an expression is to be left within half a second."""


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


def observed(face: TrackedFace) -> bool:
    """Whether a face was seen in this frame."""
    return face.state in ("new", "tracked") and face.points5 is not None


def face_message(
    face: TrackedFace, primary: bool, window: WindowReport, scored: FaceScores | None, looks: Looks, t_ns: int
) -> Face:
    """A face of a message.

    Args:
        face: As tracked.
        primary: Whether it is the driver or user.
        window: How full its window is.
        scored: Its scores, None before the first.
        looks: How the picture of each face is.
        t_ns: Capture time of the frame.
    """
    reason = looks.reason(face.id, _reason(face, window, scored, t_ns))
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
        quality=describe(face.size_px, face.sharpness, face.yaw_deg, face.pitch_deg, looks.of(face.id)),
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


def _reason(face: TrackedFace, window: WindowReport, scored: FaceScores | None, t_ns: int) -> str:
    seen = observed(face)
    if scored is not None and scored.moment == "now" and face.state != "lost":
        # As with the window, a face that blinks out of sight for a moment is still the one that was seen.
        if t_ns - scored.t_ns <= (STALE_NS if seen else GAP_MIN_NS):
            return "ok"
        return "starved" if seen else "occluded"
    if not seen or scored is None or not scored.ready:
        return "warming" if seen else "occluded"
    return "starved" if window.starved else "ok"


def _round(value: float | None, digits: int) -> float | None:
    return None if value is None else round(float(value), digits)


def _rounded(box: Box) -> Box:
    x, y, w, h = (round(float(value), 1) for value in box)
    return x, y, w, h
