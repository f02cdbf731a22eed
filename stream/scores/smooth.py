"""From calibrated probabilities to a steady label: smoothing, hysteresis, abstention, in this order. Pure.

Each step is tied to capture time, never to a frame count, so a source's rate does not change what it says, and each can
be switched off.

A label of this moment changes with the first score in which another class leads by the margin. One of the window, for
probabilities that jump: the smoothed challenger overtakes after 0.69 time constants and leads by the margin after 0.74
(0.19 s), then must hold that for the dwell (0.2 s); the label follows at the next score (:attr:`Smoother.delay_s`).
Probabilities of a two-second window add up to half a window before that.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engine.errors import DferError
from stream.scores.settings import Moment, SmoothSettings

Floats = npt.NDArray[np.floating]

REST = "neutral"
FADE_S = 3.0
"""A change of the label is forgotten at this time constant."""
FREE_CHANGES = 1.2
"""So many changes not yet forgotten delay nothing: a smile and its end."""


@dataclass
class TrackState:
    """What is remembered of one face.

    Attributes:
        t_ns: Capture time of the newest score.
        smoothed: (C,) float64, sums to 1.
        held: Index of the class that holds the label.
        challenger: Index of the class that leads by the margin, and since when; None while none does.
        abstaining: The confidence was under the threshold and has not risen past it and its margin since.
        since_ns: Capture time of the score that the present label, or the present abstention, began with.
        wavering_ns: Since when the confidence has been on the other side of the threshold; None while it is not.
        changes: Of what is shown, each fading from 1.
    """

    t_ns: int
    smoothed: npt.NDArray[np.float64]
    held: int
    since_ns: int
    challenger: tuple[int, int] | None = None
    abstaining: bool = False
    wavering_ns: int | None = None
    changes: float = 0.0


@dataclass(frozen=True)
class SmoothedScore:
    """One face's post-processed score.

    Attributes:
        smoothed: (C,) float64, sums to 1.
        held: The class hysteresis holds, also while abstaining.
        label: That class, or None while abstaining.
        confidence: Smoothed probability of the held class, 0 to 1.
        onset_ns: Capture time of the score with which its class first led; None while abstaining.
    """

    smoothed: npt.NDArray[np.float64]
    held: str
    label: str | None
    confidence: float
    onset_ns: int | None


class Smoother:
    """Steps every face's :class:`TrackState`.

    Args:
        labels: C class names, in the order of the probabilities.
        settings: The three steps' settings.
        threshold: Abstention threshold used where the settings leave it unset: the bundle's calibrated one; None for
            none.
        moment: What the probabilities speak for; it settles what the settings leave unset.
    """

    def __init__(
        self,
        labels: Sequence[str],
        settings: SmoothSettings | None = None,
        threshold: float | None = None,
        moment: Moment = "window",
    ) -> None:
        self.labels = tuple(labels)
        self.settings = settings if settings is not None else SmoothSettings()
        self.rates = self.settings.rates(moment)
        own = self.settings.abstain_below
        self.threshold = (own if own is not None else threshold or 0.0) if self.settings.abstain else 0.0
        self._rest = self.labels.index(REST) if REST in self.labels else None
        self._tracks: dict[str, TrackState] = {}

    @property
    def delay_s(self) -> float:
        """Time from a jump of the probabilities, from one class to another, until the label may follow, s.

        The smoothed challenger leads by m after tau * ln(2 / (1 - m)), and must then hold that lead.
        """
        rates = self.rates
        return rates.time_constant_s * math.log(2 / (1 - rates.margin)) + rates.dwell_s

    def step(self, track_id: str, probs: Floats, t_ns: int) -> SmoothedScore:
        """Take one new score of one face.

        Args:
            track_id: Whose.
            probs: (C,) probabilities that sum to 1.
            t_ns: Capture time of the newest sample in it; a score no newer than the last one changes nothing.

        Raises:
            DferError: If `probs` is not C finite numbers.
        """
        now = np.asarray(probs, dtype=np.float64)
        if now.shape != (len(self.labels),) or not np.isfinite(now).all():
            raise DferError(
                f"the model's probabilities must be {len(self.labels)} finite numbers, not {now.tolist()}",
                "choose another model.precision or model.backend",
            )
        state = self._tracks.get(track_id)
        if state is None or t_ns - state.t_ns > self.settings.gap_s * 1e9:
            held = int(now.argmax())
            state = TrackState(t_ns, now, held, t_ns, abstaining=bool(now[held] < self.threshold))
            self._tracks[track_id] = state
        elif t_ns > state.t_ns:
            self._advance(state, now, t_ns)
        confidence = float(state.smoothed[state.held])
        held_name = self.labels[state.held]
        label, onset_ns = (None, None) if state.abstaining else (held_name, state.since_ns)
        return SmoothedScore(state.smoothed, held_name, label, confidence, onset_ns)

    def take_over(self, other: Smoother) -> None:
        """Go on with what another one remembers of each face."""
        self._tracks = other._tracks

    def reset(self, track_id: str) -> None:
        """Forget a face: its next score starts anew."""
        self._tracks.pop(track_id, None)

    def reset_all(self) -> None:
        """Forget every face, as after a cut or a lost camera."""
        self._tracks.clear()

    def __len__(self) -> int:
        return len(self._tracks)

    def _advance(self, state: TrackState, probs: npt.NDArray[np.float64], t_ns: int) -> None:
        """Move one face's state on to `probs` (C,) of time `t_ns`, later than the state's."""
        passed_s = (t_ns - state.t_ns) / 1e9
        tau_s = self.rates.time_constant_s
        # The exact answer of a first-order low-pass to a step, whatever the spacing of the scores.
        weight = -math.expm1(-passed_s / tau_s) if tau_s > 0 else 1.0
        state.smoothed = state.smoothed + weight * (probs - state.smoothed)
        state.changes *= math.exp(-passed_s / FADE_S)
        state.t_ns = t_ns
        self._hold(state, t_ns)
        self._abstain(state, t_ns)

    def _hold(self, state: TrackState, t_ns: int) -> None:
        """Give the label to the class that has led by the margin for the dwell; remember the one that leads."""
        best = int(state.smoothed.argmax())
        leads = best != state.held and state.smoothed[best] - state.smoothed[state.held] > self.rates.margin
        # Where a label is not withheld at once, one that would be does not take it.
        sure = self.rates.abstain_dwell_s == 0 or state.abstaining or state.smoothed[best] >= self.threshold
        if not (leads and sure):
            state.challenger = None
            return
        since = state.challenger[1] if state.challenger is not None and state.challenger[0] == best else t_ns
        if t_ns - since >= (self.rates.dwell_s + self._patience_s(state, best)) * 1e9:
            state.held, state.since_ns, state.challenger = best, since, None
            state.changes += not state.abstaining
        else:
            state.challenger = (best, since)

    def _abstain(self, state: TrackState, t_ns: int) -> None:
        """Withhold a label whose confidence is too low, and show it again once that has risen past the margin."""
        # Two thresholds, so that a confidence that lingers at one does not make the label blink.
        limit = self.threshold + (self.settings.abstain_margin if state.abstaining else 0.0)
        low = bool(state.smoothed[state.held] < limit)
        if low == state.abstaining:
            state.wavering_ns = None
            return
        since = t_ns if state.wavering_ns is None else state.wavering_ns
        if low:
            wait_s = self.rates.abstain_dwell_s * (1.0 if state.held == self._rest else 0.5)
        else:
            wait_s = self._patience_s(state, state.held)
        if t_ns - since >= wait_s * 1e9:
            state.abstaining, state.since_ns, state.wavering_ns = low, t_ns, None
            state.changes += 1
        else:
            state.wavering_ns = since

    def _patience_s(self, state: TrackState, target: int) -> float:
        """How much longer a restless face's next label must lead; from an expression back to rest nothing waits."""
        if target == self._rest and not state.abstaining:
            return 0.0
        return self.rates.restless_s * max(state.changes - FREE_CHANGES, 0.0)
