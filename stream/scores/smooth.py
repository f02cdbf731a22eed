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
FREE_UNREST = 2.2
"""So many changes of the face itself, not yet forgotten, are an expression that comes and goes: of 146 marked ones 99 %
stay under 2.1, while speaking, grimacing faces are above 2.3 for half of the time (part choose, 2026-11-28)."""
MOST_UNREST = 5.0
"""As wild as such faces get (99 %); so a face that is calm again is believed after 1.2 s at the latest."""
WILD = 0.7
"""Share of the patience that each of them beyond costs every change, back to rest and into silence too."""


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
        leader: Index of the class that led by the margin last.
        unrest: Changes of that, each fading from 1: what the face does, whatever is shown of it.
        shown: A label was shown before.
    """

    t_ns: int
    smoothed: npt.NDArray[np.float64]
    held: int
    since_ns: int
    challenger: tuple[int, int] | None = None
    abstaining: bool = False
    wavering_ns: int | None = None
    changes: float = 0.0
    leader: int = 0
    unrest: float = 0.0
    shown: bool = False


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
            state = TrackState(t_ns, now, held, t_ns, leader=held)
            state.abstaining = bool(now[held] < self._entry(state, held))
            self._tracks[track_id] = state
        elif t_ns > state.t_ns:
            self._advance(state, now, t_ns)
        confidence = float(state.smoothed[state.held])
        held_name = self.labels[state.held]
        state.shown = state.shown or not state.abstaining
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
        fading = math.exp(-passed_s / FADE_S)
        state.changes, state.unrest, state.t_ns = state.changes * fading, state.unrest * fading, t_ns
        best = int(state.smoothed.argmax())
        if state.smoothed[best] - state.smoothed[state.leader] > self.rates.margin:
            state.leader, state.unrest = best, min(state.unrest + 1, MOST_UNREST)
        self._hold(state, t_ns)
        self._abstain(state, t_ns)

    def _hold(self, state: TrackState, t_ns: int) -> None:
        """Give the label to the class that has led by the margin for the dwell; remember the one that leads."""
        best = int(state.smoothed.argmax())
        leads = best != state.held and state.smoothed[best] - state.smoothed[state.held] > self.rates.margin
        # Where a label is not withheld at once, one that would be does not take it.
        sure = self.rates.abstain_dwell_s == 0 or state.abstaining or state.smoothed[best] >= self._entry(state, best)
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
        limit = self.threshold
        if state.abstaining:
            limit = max(limit + self.settings.abstain_margin, self._entry(state, state.held))
        low = bool(state.smoothed[state.held] < limit)
        if low == state.abstaining:
            state.wavering_ns = None
            return
        since = t_ns if state.wavering_ns is None else state.wavering_ns
        if low:
            wait_s = self.rates.abstain_dwell_s * (1.0 if state.held == self._rest else 0.5)
            wait_s = max(wait_s, self._wild_s(state))
        else:
            wait_s = self._patience_s(state, state.held)
        if t_ns - since >= wait_s * 1e9:
            state.abstaining, state.since_ns, state.wavering_ns = low, t_ns, None
            state.changes += 1
        else:
            state.wavering_ns = since

    def _entry(self, state: TrackState, target: int) -> float:
        """Confidence that a class must reach to be shown anew: an expression more than rest, the first one most."""
        if target == self._rest:
            return self.threshold
        more = self.rates.entry if state.shown else self.rates.first_entry
        return min(self.threshold + more, (1 + self.threshold) / 2)

    def _patience_s(self, state: TrackState, target: int) -> float:
        """How much longer a restless face's next label must lead; back to rest waits only where the face is wild."""
        wild_s = self._wild_s(state)
        if target == self._rest and not state.abstaining:
            return wild_s
        return max(self.rates.restless_s * max(state.changes - FREE_CHANGES, 0.0), wild_s)

    def _wild_s(self, state: TrackState) -> float:
        """What a face that speaks and pulls faces adds to every wait."""
        return WILD * self.rates.restless_s * max(state.unrest - FREE_UNREST, 0.0)
