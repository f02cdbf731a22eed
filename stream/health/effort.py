"""How much the daemon does for each frame, so that messages keep the camera's pace when there is too little CPU.

Pure: how busy the loop was goes in, what may be left out comes out. Why there is too little (a crowd, a hot or a
limited processor, other programs) does not matter to the decision, and is said beside it.
"""

from __future__ import annotations

from dataclasses import dataclass

BUSY = 0.9
"""Share of the time that may be spent on frames: beyond, one that costs a little more makes the next one late."""
IDLE = 0.4
"""Below it there is room for twice the work."""
PERIOD_NS = 500_000_000
"""Time over which the loop is judged."""
PATIENCE_NS = 3_000_000_000
"""How long there must be room before more is done again."""
_MOST_PATIENCE_NS = 60_000_000_000
_RELAPSE_NS = 5_000_000_000


@dataclass(frozen=True)
class Effort:
    """What is done for the frames.

    Attributes:
        share: Of a tick's faces that are encoded, the primary one first; the others in turn.
        ticks: Every so many ticks of the sample clock faces are encoded at all.
        pause: Factor on the times between two looks of the landmark net and two detections.
    """

    share: float = 1.0
    ticks: int = 1
    pause: float = 1.0


EFFORTS = (Effort(), Effort(0.5, 1, 2.0), Effort(0.2, 1, 4.0), Effort(0.1, 2, 4.0))
"""From all of it downwards. Only the last scores the primary face less often: four times a second (default model)."""


class EffortPolicy:
    """Less at once when frames come faster than they are done, more again only after patience.

    A level that was left and had to be taken again within five seconds doubles the patience, up to a minute: work that
    fits by a hair does not make the daemon swing.
    """

    def __init__(self) -> None:
        self.level = 0
        self._patience_ns = PATIENCE_NS
        self._room_since_ns: int | None = None
        self._raised_ns: int | None = None

    @property
    def effort(self) -> Effort:
        """What is to be done."""
        return EFFORTS[self.level]

    def step(self, now_ns: int, busy: float) -> bool:
        """Judge one period.

        Args:
            now_ns: Its end, CLOCK_MONOTONIC.
            busy: Share of it that went into frames, 0 to 1.

        Returns:
            Whether the effort is another one now.
        """
        if busy > BUSY:
            self._room_since_ns = None
            if self.level + 1 == len(EFFORTS):
                return False
            if self._raised_ns is not None and now_ns - self._raised_ns <= _RELAPSE_NS:
                self._patience_ns = min(2 * self._patience_ns, _MOST_PATIENCE_NS)
            self._raised_ns = None
            self.level += 1
            return True
        if busy > IDLE or self.level == 0:
            self._room_since_ns = None
            if self.level == 0 and self._raised_ns is not None and now_ns - self._raised_ns > _RELAPSE_NS:
                self._patience_ns = PATIENCE_NS
            return False
        if self._room_since_ns is None:
            self._room_since_ns = now_ns
        if now_ns - self._room_since_ns < self._patience_ns:
            return False
        self._room_since_ns, self._raised_ns = None, now_ns
        self.level -= 1
        return True


@dataclass
class BusyMeter:
    """Share of the time that went into frames, period by period.

    Attributes:
        since_ns: When the period began.
        spent_ns: Of it, on frames.
    """

    since_ns: int
    spent_ns: int = 0

    def spent(self, from_ns: int, to_ns: int) -> float | None:
        """Take note of work; gives the share once a period is over."""
        self.spent_ns += to_ns - from_ns
        passed_ns = to_ns - self.since_ns
        if passed_ns < PERIOD_NS:
            return None
        busy, self.since_ns, self.spent_ns = self.spent_ns / passed_ns, to_ns, 0
        return min(busy, 1.0)
