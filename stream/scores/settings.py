"""How scores become labels: what of it can be set."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from calibration.settings import NeutralSettings
from engine.settings import SettingsError

Moment = Literal["now", "window"]
"""What a label speaks for: the newest sample, or the window's two seconds."""


@dataclass(frozen=True)
class LabelRates:
    """How fast a label may change.

    Attributes:
        time_constant_s: Of the smoothing; 0 for none.
        margin: How far another class must lead, 0 to 1.
        dwell_s: For how long.
        abstain_dwell_s: For how long its confidence must be too low for it to go.
        restless_s: What each recent change adds to the dwell.
        entry: How far above the threshold an expression must be to be shown.
        first_entry: The same of a face of which nothing was shown yet.
    """

    time_constant_s: float
    margin: float
    dwell_s: float
    abstain_dwell_s: float
    restless_s: float
    entry: float
    first_entry: float


_UNSET: dict[Moment, LabelRates] = {
    "window": LabelRates(0.25, 0.05, 0.2, 0.0, 0.0, 0.0, 0.0),
    # Chosen on composed sequences and clips (`tests/scenes/marked`, part choose, 2026-11-28).
    "now": LabelRates(0.0, 0.3, 0.0, 0.25, 1.5, 0.06, 0.15),
}


def _either(value: float | None, unset: float) -> float:
    return unset if value is None else value


@dataclass(frozen=True)
class SmoothSettings:
    """How steady the label is: smoothing, hysteresis, abstention.

    What is unset depends on which moment the label speaks for: scores of two seconds move slowly and are smoothed,
    scores of one sample are not, and another class takes the label by a clear lead alone.

    Attributes:
        smooth: Smooth probabilities over time.
        time_constant_s: After this long, 63 % of a change has come through; unset is 0.25 for the window, none for now.
        gap_s: Without a score for longer than this, smoothing and hysteresis start anew.
        hysteresis: Hold the label until another class clearly leads.
        margin: How far another class must lead to take the label, 0 to 1; unset is 0.05 for the window, 0.3 for now.
        dwell_s: For how long it must lead by that margin, without a break; unset is 0.2 for the window, 0 for now.
        abstain: Publish no label while the confidence is under the threshold.
        abstain_below: Confidence under which the label is null, 0 to 1; unset takes the bundle's calibrated threshold.
        abstain_margin: How far above the threshold the confidence must rise to end an abstention, 0 to 1.
        abstain_dwell_s: For how long it must be under the threshold, half of that for an expression; unset is 0 for the
            window, 0.25 for now.
        restless_s: What each recent change beyond the first adds to the dwell of another expression, so that a wild
            face does not flicker; back to rest waits only while the face itself changes wildly; unset is 0 for the
            window, 1.5 for now.
    """

    smooth: bool = True
    time_constant_s: float | None = None
    gap_s: float = 1.0
    hysteresis: bool = True
    margin: float | None = None
    dwell_s: float | None = None
    abstain: bool = True
    abstain_below: float | None = None
    abstain_margin: float = 0.03
    abstain_dwell_s: float | None = None
    restless_s: float | None = None

    def __post_init__(self) -> None:
        for name in ("time_constant_s", "gap_s"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and 0 < value <= 60):
                raise SettingsError(
                    f"{name} must be above 0 and at most 60 s, not {value}", "switch the step off instead"
                )
        for name in ("dwell_s", "abstain_dwell_s", "restless_s"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 10:
                raise SettingsError(f"{name} must be 0..10 s, not {value}")
        for name in ("margin", "abstain_below", "abstain_margin"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < 1:
                raise SettingsError(f"{name} must be at least 0 and under 1, not {value}")

    def rates(self, moment: Moment) -> LabelRates:
        """What holds for labels of a moment, with what was left unset."""
        unset = _UNSET[moment]
        return LabelRates(
            time_constant_s=_either(self.time_constant_s, unset.time_constant_s) if self.smooth else 0.0,
            margin=_either(self.margin, unset.margin) if self.hysteresis else 0.0,
            dwell_s=_either(self.dwell_s, unset.dwell_s) if self.hysteresis else 0.0,
            abstain_dwell_s=_either(self.abstain_dwell_s, unset.abstain_dwell_s),
            restless_s=_either(self.restless_s, unset.restless_s) if self.hysteresis else 0.0,
            entry=unset.entry if self.abstain else 0.0,
            first_entry=unset.first_entry if self.abstain else 0.0,
        )


@dataclass(frozen=True)
class ScoreSettings:
    """How scores become labels: calibration, a person's neutral baseline, smoothing, hysteresis, abstention.

    Attributes:
        calibrate: Apply the bundle's calibration, if it has one.
        label: The moment the label speaks for; models that do not score single samples know the window alone.
        own_rest: Read a label of this moment against how the face itself looks at rest, learnt while it is seen so.
    """

    calibrate: bool = True
    label: Moment = "now"
    own_rest: bool = True
    neutral: NeutralSettings = field(default_factory=NeutralSettings)
    calm: SmoothSettings = field(default_factory=SmoothSettings)
