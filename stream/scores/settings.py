"""How scores become labels: what of it can be set."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from calibration.settings import NeutralSettings
from engine.settings import SettingsError


@dataclass(frozen=True)
class SmoothSettings:
    """How steady the label is: smoothing, hysteresis, abstention.

    Attributes:
        smooth: Smooth probabilities over time.
        time_constant_s: After this long, 63 % of a change has come through.
        gap_s: Without a score for longer than this, smoothing and hysteresis start anew.
        hysteresis: Hold the label until another class clearly leads.
        margin: How far another class must lead in smoothed probability to take the label, 0 to 1.
        dwell_s: For how long it must lead by that margin, without a break.
        abstain: Publish no label while the confidence is under the threshold.
        abstain_below: Confidence under which the label is null, 0 to 1; unset takes the bundle's calibrated threshold.
        abstain_margin: How far above the threshold the confidence must rise to end an abstention, 0 to 1.
    """

    smooth: bool = True
    time_constant_s: float = 0.25
    gap_s: float = 1.0
    hysteresis: bool = True
    margin: float = 0.05
    dwell_s: float = 0.2
    abstain: bool = True
    abstain_below: float | None = None
    abstain_margin: float = 0.03

    def __post_init__(self) -> None:
        for name in ("time_constant_s", "gap_s"):
            value = getattr(self, name)
            if not (math.isfinite(value) and 0 < value <= 60):
                raise SettingsError(
                    f"{name} must be above 0 and at most 60 s, not {value}", "switch the step off instead"
                )
        if not 0 <= self.dwell_s <= 10:
            raise SettingsError(f"dwell_s must be 0..10 s, not {self.dwell_s}")
        for name in ("margin", "abstain_below", "abstain_margin"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < 1:
                raise SettingsError(f"{name} must be at least 0 and under 1, not {value}")


@dataclass(frozen=True)
class ScoreSettings:
    """How scores become labels: calibration, a person's neutral baseline, smoothing, hysteresis, abstention.

    Attributes:
        calibrate: Apply the bundle's calibration, if it has one.
    """

    calibrate: bool = True
    neutral: NeutralSettings = field(default_factory=NeutralSettings)
    calm: SmoothSettings = field(default_factory=SmoothSettings)
