"""Checks that every model configuration runs on construction."""

from __future__ import annotations

from collections.abc import Sequence


class OptionError(ValueError):
    """A model option that cannot be: the message names the option and what it must be."""


def choice(name: str, value: str, allowed: Sequence[str]) -> None:
    """Check that an option is one of a few words.

    Raises:
        OptionError: If it is not.
    """
    if value not in allowed:
        raise OptionError(f"{name} must be one of {', '.join(allowed)}, not {value!r}")


def in_range(name: str, value: float, low: float, high: float) -> None:
    """Check that an option lies in a closed range.

    Raises:
        OptionError: If it does not.
    """
    if not low <= value <= high:
        raise OptionError(f"{name} must be {low}..{high}, not {value}")
