"""How a condition becomes a level: up as soon as it is due, down only after a while."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from stream.publish.driver import LEVELS, Finding

NOTICE, WARNING, ALARM = 1, 2, 3
_UNSEEN_NS = 1_000_000_000
"""A condition that could not be told for longer is over."""


class Latch:
    """Holds a level until it has been lower for a while.

    Args:
        clear_s: For how long, s.
    """

    def __init__(self, clear_s: float) -> None:
        self._clear_ns = int(clear_s * 1e9)
        self.level = 0
        self._at_ns = 0

    def step(self, t_ns: int, level: int) -> int:
        """The level held, given the one that is due now.

        Args:
            t_ns: Now.
            level: 0 (none) to 3 (alarm).
        """
        if level >= self.level or t_ns - self._at_ns >= self._clear_ns:
            self.level, self._at_ns = level, t_ns
        return self.level


class Held:
    """A condition that means more the longer it holds without a break.

    Args:
        steps: Durations, s, one for each of `levels`, rising.
        levels: What they mean.
        gap_s: A break no longer than this is none.
        clear_s: A level falls once the condition was gone for this long.
    """

    def __init__(self, steps: Sequence[float], levels: Sequence[int], gap_s: float, clear_s: float) -> None:
        self._steps, self._gap_ns = tuple(zip(steps, levels, strict=True)), int(gap_s * 1e9)
        self._latch = Latch(clear_s)
        self._since_ns: int | None = None
        self._last_ns = 0
        self._broken = False

    @property
    def since_ns(self) -> int | None:
        """When it began; None while it does not hold."""
        return self._since_ns

    @property
    def seconds(self) -> float:
        """For how long it has held, s."""
        return 0.0 if self._since_ns is None else (self._last_ns - self._since_ns) / 1e9

    def step(self, t_ns: int, holds: bool | None) -> Finding:
        """Take one observation.

        Args:
            t_ns: Its time.
            holds: Whether the condition holds in it; None where it cannot be told, which neither ends nor feeds it.
        """
        self._broken |= holds is False
        if t_ns - self._last_ns > (self._gap_ns if self._broken else _UNSEEN_NS):
            self._since_ns = None
        if holds:
            self._since_ns = t_ns if self._since_ns is None else self._since_ns
            self._last_ns, self._broken = t_ns, False
        seconds = self.seconds
        due = 0
        if self._since_ns is not None:
            due = max((level for step, level in self._steps if seconds >= step), default=0)
        level = self._latch.step(t_ns, due)
        return Finding(LEVELS[level], holds is not None, self._since_ns, round(seconds, 3), round(seconds, 3))


class Graded:
    """A figure that means more the larger it is; a level falls once it is well under its threshold.

    Args:
        steps: Thresholds, one for each of `levels`, rising.
        levels: What they mean.
        back: A level stays until the figure is under this share of its threshold.
    """

    def __init__(self, steps: Sequence[float], levels: Sequence[int], back: float = 1.0) -> None:
        self._steps, self._back = tuple(zip(steps, levels, strict=True)), back
        self._level = 0
        self._since_ns: int | None = None

    def step(self, t_ns: int, value: float | None) -> Finding:
        """Take a figure; None where there is none, which keeps the level."""
        if value is not None:
            due = max((level for step, level in self._steps if value >= step), default=0)
            kept = max((level for step, level in self._steps if value >= step * self._back), default=0)
            self._level = max(due, min(kept, self._level))
            if not self._level:
                self._since_ns = None
            elif self._since_ns is None:
                self._since_ns = t_ns
        seconds = 0.0 if self._since_ns is None else (t_ns - self._since_ns) / 1e9
        shown = None if value is None else round(value, 4)
        return Finding(LEVELS[self._level], value is not None, self._since_ns, round(seconds, 3), shown)


class SlidingShare:
    """How much of the last while something held, and how much of it was seen at all.

    Args:
        window_s: How long that while is, s.
        most_step_s: Two observations further apart than this say nothing of the time between them.
    """

    def __init__(self, window_s: float, most_step_s: float) -> None:
        self._window_ns, self._most_ns = int(window_s * 1e9), int(most_step_s * 1e9)
        self._steps: deque[tuple[int, int, bool]] = deque()
        self._seen_ns = self._held_ns = 0
        self._last: tuple[int, bool] | None = None

    def step(self, t_ns: int, holds: bool | None) -> None:
        """Take one observation; None is unseen. The time since the last one counts as that one did."""
        if self._last is not None:
            then_ns, held = self._last
            if 0 < t_ns - then_ns <= self._most_ns:
                self._steps.append((t_ns, t_ns - then_ns, held))
                self._seen_ns += t_ns - then_ns
                self._held_ns += held * (t_ns - then_ns)
        while self._steps and self._steps[0][0] <= t_ns - self._window_ns:
            _, length_ns, held = self._steps.popleft()
            self._seen_ns -= length_ns
            self._held_ns -= held * length_ns
        self._last = None if holds is None else (t_ns, holds)

    @property
    def seen_s(self) -> float:
        """Seen within the window, s."""
        return self._seen_ns / 1e9

    @property
    def held_s(self) -> float:
        """Of that, held, s."""
        return self._held_ns / 1e9
