"""Types of command-line arguments that several commands share; what is refused says what to give."""

from __future__ import annotations

import argparse
from collections.abc import Callable

LONGEST_S = 1e9


def count(most: int | None = None) -> Callable[[str], int]:
    """A type for whole numbers of at least 1.

    Args:
        most: Largest number taken; None for any.
    """
    wanted = "of at least 1" if most is None else f"of 1 to {most}"

    def parse(text: str) -> int:
        # isdigit alone would let superscripts through.
        if not (text.isascii() and text.isdigit()) or int(text) < 1 or (most is not None and int(text) > most):
            raise argparse.ArgumentTypeError(f"give a whole number {wanted}, not {text!r}")
        return int(text)

    return parse


def seconds(text: str) -> float:
    """A time above 0, s."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < LONGEST_S:
        raise argparse.ArgumentTypeError(f"give a number of seconds above 0, not {text!r}")
    return value
