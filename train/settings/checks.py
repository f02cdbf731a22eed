"""What settings check on construction, and the error that says what must be."""

from __future__ import annotations

import math
from collections.abc import Sequence

from engine.errors import DferError


class ConfigError(DferError):
    """A configuration that cannot be; the message names the key and what it must be."""


def choice(name: str, value: str, allowed: Sequence[str]) -> None:
    """Check that a setting is one of a few words.

    Raises:
        ConfigError: If it is not.
    """
    if value not in allowed:
        raise ConfigError(f"{name} must be one of {', '.join(allowed)}, not {value!r}")


def in_range(name: str, value: float, low: float, high: float) -> None:
    """Check that a setting lies in a closed range.

    Raises:
        ConfigError: If it does not.
    """
    if not (math.isfinite(value) and low <= value <= high):
        raise ConfigError(f"{name} must be {low:g}..{high:g}, not {value:g}")
