"""Many faces, one budget: who is sampled at this tick.

When encoding every face would take longer than the time a tick may cost, faces take turns. Whoever waited longest goes
first, so nobody starves, and the order depends on the past only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass
class Scheduler:
    """Fair turns under a latency bound.

    Attributes:
        budget_ms: Most encoder time one tick may take, or None for no bound (files scored offline).
        smoothing: Weight of a new cost measurement, (0, 1].
        share: Of the faces that are sampled at a tick, at least one; (0, 1].
        ticks: Every so many ticks any is, at least 1.
    """

    budget_ms: float | None
    smoothing: float = 0.2
    share: float = 1.0
    ticks: int = 1
    _cost_ms: float | None = None
    _queue: list[str] = field(default_factory=list)

    def choose(self, face_ids: Sequence[str], primary: str | None = None) -> list[str]:
        """Pick the faces to sample now.

        Args:
            face_ids: Faces that could be sampled.
            primary: The face that is always sampled where it is among them.

        Returns:
            All of them within the budget; else the primary face and those that waited longest, in the given order.
        """
        known = set(face_ids)
        self._queue = [face for face in self._queue if face in known]
        self._queue += [face for face in face_ids if face not in self._queue]
        room = self.room()
        if self.share < 1:
            room = min(len(face_ids) if room is None else room, math.ceil(len(face_ids) * self.share))
        if room is None or room >= len(face_ids):
            chosen = set(face_ids)
        else:
            chosen = set(sorted(self._queue, key=lambda face: face != primary)[:room])
        self._queue.sort(key=lambda face: face in chosen)
        return [face for face in face_ids if face in chosen]

    def samples(self, tick: int) -> bool:
        """Whether any face is sampled at a tick."""
        return tick % self.ticks == 0

    def room(self) -> int | None:
        """Faces that fit into one tick's budget, at least 1; None where there is no bound or no measurement yet."""
        if self.budget_ms is None or self._cost_ms is None:
            return None
        return max(1, int(self.budget_ms / self._cost_ms))

    def spent(self, faces: int, elapsed_ms: float) -> None:
        """Tell the scheduler what a step cost.

        Args:
            faces: Faces encoded in the step.
            elapsed_ms: Time the step took.
        """
        if faces < 1:
            return
        cost = max(elapsed_ms / faces, 1e-3)
        self._cost_ms = cost if self._cost_ms is None else self._cost_ms + self.smoothing * (cost - self._cost_ms)
