"""The sample clock: which captured frames become samples, decided by capture time alone.

Training clips span two to five seconds in sixteen samples, so sampling goes by time: sixteen consecutive frames of a
30 fps camera would be half a second, another input than the model has seen.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from fractions import Fraction
from statistics import median

NS_PER_S = 1_000_000_000


@dataclass
class SampleClock:
    """Ticks of a fixed rate, anchored at the first frame.

    The sample of tick k is the first frame captured at or after tick k and before tick k + 1. Integer arithmetic keeps
    the same frames on the same ticks however long the daemon has run.

    Attributes:
        sample_hz: Ticks per second, above 0.
        anchor_ns: Capture time of tick 0; the first frame's where None. Cameras with one anchor tick together.
    """

    sample_hz: float
    anchor_ns: int | None = None
    _origin_ns: int | None = None
    _last_tick: int = -1

    def __post_init__(self) -> None:
        if not self.sample_hz > 0:
            raise ValueError(f"sample_hz must be above 0, not {self.sample_hz}")
        rate = Fraction(self.sample_hz).limit_denominator(1_000_000)
        self._numerator, self._denominator = rate.numerator, rate.denominator * NS_PER_S

    @property
    def delay_s(self) -> float:
        """Longest time from a moment to the tick that samples it, s; the camera's own period comes on top."""
        return 1 / self.sample_hz

    def advance(self, t_ns: int) -> int | None:
        """Tell the clock of a frame.

        Args:
            t_ns: Capture time of the frame, CLOCK_MONOTONIC ns.

        Returns:
            The tick this frame is the sample of, or None where that tick already has its sample (or where time went
            backwards).
        """
        if self._origin_ns is None:
            self._origin_ns = t_ns if self.anchor_ns is None else self.anchor_ns
        tick = (t_ns - self._origin_ns) * self._numerator // self._denominator
        if tick <= self._last_tick:
            return None
        self._last_tick = tick
        return tick

    def reset(self) -> None:
        """Anchor anew at the next frame: after a lost camera or a new source."""
        self._origin_ns = None
        self._last_tick = -1


class FramePeriod:
    """The camera's period as its capture times show it: the median of the last intervals."""

    def __init__(self, default_ns: int = 33_333_333, keep: int = 15) -> None:
        self._default_ns = default_ns
        self._intervals: deque[int] = deque(maxlen=keep)
        self._last_ns: int | None = None

    def step(self, t_ns: int) -> int:
        """Take one capture time; returns the period, ns."""
        if self._last_ns is not None and t_ns > self._last_ns:
            self._intervals.append(t_ns - self._last_ns)
        self._last_ns = t_ns
        return int(median(self._intervals)) if self._intervals else self._default_ns

    def reset(self) -> None:
        """A new source may have another rate."""
        self._intervals.clear()
        self._last_ns = None
