"""From a window's logits to what is said of a face, in one fixed order.

logits → neutral shift → temperature → softmax (``probs``) → smoothing (``smoothed``) → hysteresis → abstention
(``label``). ``now`` goes through calibration only: it stays quick.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from calibration.apply import Calibration
from calibration.neutral import NeutralBaseline
from stream.publish.message import scores
from stream.scores.settings import ScoreSettings
from stream.scores.smooth import Smoother
from stream.window.result import WindowScore


@dataclass(frozen=True)
class FaceScores:
    """The scores of one face, as the message carries them; held until the next hop."""

    t_ns: int
    frame_id: int
    logits: dict[str, float] | None
    probs: dict[str, float] | None
    now: dict[str, float] | None
    relevance: list[float]
    smoothed: dict[str, float] | None = None
    label: str | None = None
    confidence: float | None = None
    neutral_shift: dict[str, float] | None = None


class Scorer:
    """Calibrates, smooths and labels; one state per face.

    Args:
        labels: C class names in the order of the logits.
        calibration: The bundle's.
        settings: Of this machine.
    """

    def __init__(self, labels: Sequence[str], calibration: Calibration, settings: ScoreSettings) -> None:
        self._labels = tuple(labels)
        self._calibration = calibration if settings.calibrate else Calibration(self._labels)
        self._neutral = NeutralBaseline(settings.neutral, self._calibration.neutral_logits)
        self._smoother = Smoother(self._labels, settings.calm, self._calibration.threshold)
        self._held: dict[str, FaceScores] = {}

    @property
    def delay_s(self) -> float:
        """What smoothing and hysteresis add, s."""
        return self._smoother.delay_s

    def step(self, face_id: str, score: WindowScore, full: bool) -> FaceScores:
        """The face's scores; unchanged while the head has not run again.

        Args:
            face_id: Whose.
            score: The newest score of its window.
            full: Whether the window is full. Only full windows reach the smoother, so a label never rests on padding.
        """
        held = self._held.get(face_id)
        if held is not None and held.t_ns == score.t_ns:
            return held
        shift = self._neutral.step(face_id, score.logits, score.t_ns) if full else None
        probs = self._calibration.probs(score.logits, shift)
        now = None if score.now is None else self._calibration.probs(score.now, shift)
        smooth = self._smoother.step(face_id, probs, score.t_ns) if full else None
        held = FaceScores(
            t_ns=score.t_ns,
            frame_id=score.frame_id,
            logits=scores(self._labels, score.logits.tolist()),
            probs=scores(self._labels, probs.tolist()),
            now=None if now is None else scores(self._labels, now.tolist()),
            relevance=[round(float(value), 5) for value in score.relevance],
            smoothed=None if smooth is None else scores(self._labels, smooth.smoothed.tolist()),
            label=None if smooth is None else smooth.label,
            confidence=None if smooth is None else round(smooth.confidence, 6),
            neutral_shift=None if shift is None else scores(self._labels, shift.tolist()),
        )
        self._held[face_id] = held
        return held

    def restart(self, face_id: str) -> None:
        """The face's window began anew: what was smoothed before it counts no more, its neutral baseline stays."""
        self._held.pop(face_id, None)
        self._smoother.reset(face_id)

    def reset(self, face_id: str) -> None:
        """Forget a face."""
        self.restart(face_id)
        self._neutral.reset(face_id)

    def reset_all(self) -> None:
        """Forget every face."""
        self._held.clear()
        self._smoother.reset_all()
        self._neutral.reset_all()
