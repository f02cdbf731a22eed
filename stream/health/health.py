"""How the daemon is: rates, latencies, heartbeats. Fixed-size memory, pure functions of what is told and when.

Times are CLOCK_MONOTONIC ns and always given, never read here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from stream.publish.message import Faces, StageMs

NS_PER_S = 1_000_000_000


class Percentiles:
    """p50 and p99 of the newest `size` numbers.

    Args:
        size: How many numbers are kept, at least 1.
    """

    def __init__(self, size: int = 512) -> None:
        self._kept = np.zeros(size, dtype=np.float64)
        self._count = 0

    def add(self, value: float) -> None:
        """Take a number; the oldest one goes."""
        self._kept[self._count % len(self._kept)] = value
        self._count += 1

    def __len__(self) -> int:
        return min(self._count, len(self._kept))

    def summary(self) -> StageMs | None:
        """The percentiles of what is kept; None before the first number.

        Each is a number that occurred (nearest rank), because an average of a normal and a stalled step never did.
        """
        if not self._count:
            return None
        p50, p99 = np.percentile(self._kept[: len(self)], [50, 99], method="inverted_cdf")
        return StageMs(round(float(p50), 3), round(float(p99), 3), len(self))


class RateMeter:
    """Events per second over the last few seconds.

    Args:
        span_s: Over how long, s.
        most: Most events kept; beyond it the span shortens, the rate stays right.
    """

    def __init__(self, span_s: float = 5.0, most: int = 2048) -> None:
        self._span_ns = int(span_s * NS_PER_S)
        self._times = np.zeros(most, dtype=np.int64)
        self._count = 0

    def add(self, t_ns: int) -> None:
        """Count an event at `t_ns`, no earlier than the one before."""
        self._times[self._count % len(self._times)] = t_ns
        self._count += 1

    def hz(self, now_ns: int) -> float | None:
        """The rate at `now_ns`; None before the second event, 0 once none fell into the span."""
        if self._count < 2:
            return None
        kept = self._times[: min(self._count, len(self._times))]
        recent = kept[kept > now_ns - self._span_ns]
        if recent.size == 0:
            return 0.0
        first, last = int(recent.min()), int(recent.max())
        if recent.size == 1:
            return NS_PER_S / max(now_ns - first, NS_PER_S)
        # Between events; but once the next one is overdue, the wait for it counts, so that a stall shows at once.
        period = (last - first) / (recent.size - 1)
        waited = now_ns - last
        span = last - first + (waited if waited > 2 * period else 0)
        return float((recent.size - 1) * NS_PER_S / max(span, 1))


class Heartbeats:
    """Which stages still move.

    A watchdog is fed only while every stage is fresh, so that one hung stage restarts the daemon.

    Args:
        limits_s: How long each stage may be silent, s, by name.
        t_ns: When the stages started: until its first beat a stage has its limit from then.
    """

    def __init__(self, limits_s: Mapping[str, float], t_ns: int) -> None:
        self._limits_ns = {name: int(limit * NS_PER_S) for name, limit in limits_s.items()}
        self._last_ns = dict.fromkeys(limits_s, t_ns)

    def beat(self, stage: str, t_ns: int) -> None:
        """Take note that a stage went round.

        Raises:
            KeyError: If no limit was set for it.
        """
        if stage not in self._last_ns:
            raise KeyError(stage)
        self._last_ns[stage] = t_ns

    def stale(self, now_ns: int) -> list[str]:
        """Stages silent for longer than their limit."""
        return [name for name, last in self._last_ns.items() if now_ns - last > self._limits_ns[name]]


@dataclass
class Health:
    """What the daemon's stages report, and the numbers the status message shows.

    Attributes:
        started_ns: When the daemon started.
        frames_in: Captured frames.
        frames_out: Published ``faces`` messages.
        frames_total: Captured frames so far.
        stages_ms: Recent durations by stage, ms.
        backend_faults_total: Steps the model's back end failed.
        degraded: What is running below its setting.
    """

    started_ns: int
    frames_in: RateMeter = field(default_factory=RateMeter)
    frames_out: RateMeter = field(default_factory=RateMeter)
    stages_ms: dict[str, Percentiles] = field(default_factory=dict)
    frames_total: int = 0
    backend_faults_total: int = 0
    degraded: set[str] = field(default_factory=set)

    def captured(self, t_ns: int) -> None:
        """A frame was captured."""
        self.frames_in.add(t_ns)
        self.frames_total += 1

    def published(self, message: Faces) -> None:
        """A ``faces`` message is published; it says how long its stages took."""
        self.frames_out.add(message.t_publish_ns)
        for stage in ("capture", "detect", "infer", "total"):
            ms = getattr(message.latency_ms, stage)
            if ms is not None:
                self.took(stage, ms)

    def took(self, stage: str, ms: float) -> None:
        """A stage took `ms`."""
        self.stages_ms.setdefault(stage, Percentiles()).add(ms)

    def latency_ms(self) -> dict[str, StageMs]:
        """Percentiles by stage, as the status message has them."""
        summaries = {name: kept.summary() for name, kept in self.stages_ms.items()}
        return {name: summary for name, summary in summaries.items() if summary is not None}

    def state(self, camera: str, stale: list[str]) -> str:
        """``ok``, ``degraded`` or ``starting``.

        Args:
            camera: The camera's state, one of ``stream.publish.message.REASONS``.
            stale: Stages whose heartbeat is overdue.
        """
        if camera not in ("ok", "ended") or stale or self.degraded:
            return "degraded"
        return "ok" if self.frames_total else "starting"


def rounded(value: float | None) -> float | None:
    """A rate as the message shows it, two decimals."""
    return None if value is None else round(value, 2)
