"""What settings check on construction."""

from __future__ import annotations

import math

from engine.settings import SettingsError


def in_range(name: str, value: float, low: float, high: float) -> None:
    """Check that a setting lies in a closed range.

    Raises:
        SettingsError: If it does not.
    """
    if not (math.isfinite(value) and low <= value <= high):
        raise SettingsError(f"{name} must be {low:g}..{high:g}, not {value:g}")
