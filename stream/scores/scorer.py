"""From a window's logits to what is said of a face, in one fixed order.

logits → neutral shift → temperature → softmax (``probs``, ``now``) → own rest → smoothing (``smoothed``) →
hysteresis → abstention (``label``).

The label is taken from ``now``, which each sample makes anew and which therefore speaks from the first one on; from
``probs`` and a full window where the model scores no single samples, or where the settings ask for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from calibration.apply import Calibration
from calibration.neutral import NeutralBaseline
from stream.publish.message import scores
from stream.scores.rest import OwnRest
from stream.scores.settings import Moment, ScoreSettings
from stream.scores.smooth import Smoother
from stream.window.result import WindowScore


@dataclass(frozen=True)
class FaceScores:
    """The scores of one face, as the message carries them; held until the next hop.

    Attributes:
        moment: What the label speaks for.
        ready: Whether there is what it rests on: a sample, or a full window.
    """

    t_ns: int
    frame_id: int
    logits: dict[str, float] | None
    probs: dict[str, float] | None
    now: dict[str, float] | None
    relevance: list[float]
    moment: Moment
    ready: bool
    smoothed: dict[str, float] | None = None
    label: str | None = None
    confidence: float | None = None
    onset_ns: int | None = None
    neutral_shift: dict[str, float] | None = None


class Scorer:
    """Calibrates, smooths and labels; one state per face.

    Args:
        labels: C class names in the order of the logits.
        calibration: The bundle's.
        settings: Of this machine.
        has_now: Whether the model scores single samples.
    """

    def __init__(
        self, labels: Sequence[str], calibration: Calibration, settings: ScoreSettings, has_now: bool = False
    ) -> None:
        self._labels = tuple(labels)
        self._calibration = calibration if settings.calibrate else Calibration(self._labels)
        self.moment: Moment = "now" if has_now and settings.label == "now" else "window"
        labelled = self._calibration.of_now if self.moment == "now" else self._calibration
        self._neutral = NeutralBaseline(settings.neutral, labelled.neutral_logits)
        rest = labelled.neutral_logits if settings.own_rest and self.moment == "now" else None
        self._rest = OwnRest(self._labels, None if rest is None else np.log(labelled.probs(np.array(rest))))
        self._smoother = Smoother(self._labels, settings.calm, labelled.threshold, self.moment)
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
            full: Whether the window is full: a label of the window never rests on padding.
        """
        held = self._held.get(face_id)
        if held is not None and held.t_ns == score.t_ns:
            return held
        labelled = score.now if self.moment == "now" else score.logits if full else None
        shift = None if labelled is None else self._neutral.step(face_id, labelled, score.t_ns)
        probs = self._calibration.probs(score.logits, shift)
        now = None if score.now is None else self._calibration.of_now.probs(score.now, shift)
        chosen = now if self.moment == "now" else probs
        if chosen is not None:
            chosen = self._rest.step(face_id, chosen, score.t_ns, None if held is None else held.label)
        smooth = None if labelled is None or chosen is None else self._smoother.step(face_id, chosen, score.t_ns)
        held = FaceScores(
            t_ns=score.t_ns,
            frame_id=score.frame_id,
            logits=scores(self._labels, score.logits.tolist()),
            probs=scores(self._labels, probs.tolist()),
            now=None if now is None else scores(self._labels, now.tolist()),
            relevance=[round(float(value), 5) for value in score.relevance],
            moment=self.moment,
            ready=smooth is not None,
            smoothed=None if smooth is None else scores(self._labels, smooth.smoothed.tolist()),
            label=None if smooth is None else smooth.label,
            confidence=None if smooth is None else round(smooth.confidence, 6),
            onset_ns=None if smooth is None else smooth.onset_ns,
            neutral_shift=None if shift is None else scores(self._labels, shift.tolist()),
        )
        self._held[face_id] = held
        return held

    def take_over(self, other: Scorer) -> None:
        """Go on with each face's smoothed scores and baseline as another one has them, where both speak of the same."""
        if self.moment == other.moment:
            self._smoother.take_over(other._smoother)
            self._neutral.take_over(other._neutral)

    def restart(self, face_id: str) -> None:
        """The face's window began anew: what was smoothed before it counts no more, its own rest and baseline stay."""
        self._held.pop(face_id, None)
        self._smoother.reset(face_id)

    def reset(self, face_id: str) -> None:
        """Forget a face."""
        self.restart(face_id)
        self._rest.reset(face_id)
        self._neutral.reset(face_id)

    def reset_all(self) -> None:
        """Forget every face."""
        self._held.clear()
        self._smoother.reset_all()
        self._rest.reset_all()
        self._neutral.reset_all()
