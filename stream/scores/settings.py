"""Settings of how scores become labels."""

from __future__ import annotations

from dataclasses import dataclass, field

from calibration.neutral import NeutralSettings
from stream.scores.smooth import SmoothSettings


@dataclass(frozen=True)
class ScoreSettings:
    """How scores become labels: calibration, a person's neutral baseline, smoothing, hysteresis, abstention.

    Attributes:
        calibrate: Apply the bundle's calibration, if it has one.
    """

    calibrate: bool = True
    neutral: NeutralSettings = field(default_factory=NeutralSettings)
    calm: SmoothSettings = field(default_factory=SmoothSettings)
