"""What a reader of ``faces/`` messages can measure by itself: rate, latency, drops."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

_SPAN_NS = 2_000_000_000
_KEEP = 300


@dataclass(frozen=True)
class Measured:
    """The last two seconds.

    Attributes:
        fps: Messages of frames per second; None until there are two.
        latency_p50_ms: Median of ``latency_ms.total``; None where no message had one.
        dropped: Frames dropped since the first message seen.
    """

    fps: float | None = None
    latency_p50_ms: float | None = None
    dropped: int = 0


class StreamMeter:
    """Measures a stream of messages by their own clocks, so a recording gives what the live stream gave."""

    def __init__(self) -> None:
        self._session: object = None
        self.reset()

    def reset(self) -> None:
        """Forget everything seen."""
        self._times: deque[int] = deque(maxlen=_KEEP)
        self._latencies: deque[float] = deque(maxlen=60)
        self._first_dropped: int | None = None
        self._dropped = 0

    def step(self, message: Mapping[str, Any]) -> Measured:
        """Take one decoded ``faces/`` body; a new session begins anew.

        Args:
            message: The body as a mapping; missing keys are no error.
        """
        if message.get("session") != self._session:
            self.reset()
            self._session = message.get("session")
        t_ns = message.get("t_publish_ns")
        if isinstance(t_ns, int) and message.get("valid", True):
            if self._times and t_ns < self._times[-1]:
                self._times.clear()
            self._times.append(t_ns)
            while t_ns - self._times[0] > _SPAN_NS:
                self._times.popleft()
        total = (message.get("latency_ms") or {}).get("total")
        if isinstance(total, int | float):
            self._latencies.append(float(total))
        dropped = message.get("dropped_total")
        if isinstance(dropped, int):
            if self._first_dropped is None:
                self._first_dropped = dropped
            self._dropped = max(dropped - self._first_dropped, 0)
        return self.measured

    @property
    def measured(self) -> Measured:
        """What the messages so far say."""
        span = self._times[-1] - self._times[0] if len(self._times) > 1 else 0
        return Measured(
            fps=(len(self._times) - 1) * 1e9 / span if span > 0 else None,
            latency_p50_ms=median(self._latencies) if self._latencies else None,
            dropped=self._dropped,
        )
