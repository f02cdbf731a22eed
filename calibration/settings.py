"""What can be set about a person's baseline, and the package's error. No NumPy: help is quick to come."""

from __future__ import annotations

from dataclasses import dataclass

from engine.errors import DferError


class CalibrationError(DferError):
    """A calibration that cannot be used, or answers that none can be made or measured from; which field or row."""


@dataclass(frozen=True)
class NeutralSettings:
    """The neutral baseline of each person.

    Attributes:
        enabled: Take a face's first seconds for its neutral face and shift its scores by them.
        seconds: How many seconds of scores make the baseline.
        bound: The most any class's logit is moved, either way.
    """

    enabled: bool = False
    seconds: float = 3.0
    bound: float = 1.0

    def __post_init__(self) -> None:
        if not 0.5 <= self.seconds <= 60:
            raise CalibrationError(f"neutral seconds must be 0.5..60, not {self.seconds}")
        if not 0 < self.bound <= 4:
            raise CalibrationError(f"neutral bound must be above 0 and at most 4, not {self.bound}")
