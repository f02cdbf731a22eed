"""A condition that flickers, made into two moments: it began, it ended."""

from __future__ import annotations

from dataclasses import dataclass

UNSEEN_S = 1.0
"""What cannot be told for longer than this is over."""


@dataclass(frozen=True)
class Change:
    """A condition began or ended.

    Attributes:
        on: It began.
        onset_ns: When, not when that was decided.
    """

    on: bool
    onset_ns: int


class Debounced:
    """Begins once it has held for a while and ends once it has been gone for a while.

    Args:
        on_s: The one while, s.
        off_s: The other, s.
    """

    def __init__(self, on_s: float, off_s: float) -> None:
        self._on_ns, self._off_ns = int(on_s * 1e9), int(off_s * 1e9)
        self.on = False
        self._turned_ns: int | None = None
        self._told_ns: int | None = None

    def step(self, t_ns: int, holds: bool | None, onset_ns: int | None = None) -> Change | None:
        """Take one observation.

        Args:
            t_ns: Its time.
            holds: Whether the condition holds; None where that cannot be told.
            onset_ns: Since when, where whoever found it knows better than that it was seen first now.

        Returns:
            The change that is certain now, if there is one.
        """
        if holds is None:
            return self.end() if self._told_ns is not None and t_ns - self._told_ns > UNSEEN_S * 1e9 else None
        self._told_ns = t_ns
        if holds == self.on:
            self._turned_ns = None
            return None
        if self._turned_ns is None:
            self._turned_ns = t_ns
        onset_ns = self._turned_ns if onset_ns is None else min(onset_ns, self._turned_ns)
        if t_ns - onset_ns < (self._off_ns if self.on else self._on_ns):
            return None
        self.on, self._turned_ns = holds, None
        return Change(holds, onset_ns)

    def end(self) -> Change | None:
        """It cannot be followed any more: it ended where it was last told, if it was on."""
        was, told_ns = self.on, self._turned_ns if self._turned_ns is not None else self._told_ns
        self.on, self._turned_ns, self._told_ns = False, None, None
        return Change(False, told_ns) if was and told_ns is not None else None
