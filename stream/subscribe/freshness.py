"""Whether a subscriber may still believe what it last heard. Pure: times go in, a report comes out.

The rule of the schema: a source is *alive* while its newest message is younger than ten periods, and *on time* while
messages arrive at 90 % or more of the declared rate. Age counts from publication where publisher and subscriber share a
boot (``boot_id``), so a backlog read late is seen as old; between machines, whose clocks do not compare, from arrival.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

ALIVE_PERIODS = 10
ON_TIME_SHARE = 0.9
IDLE_HZ = 2.0
"""The rate assumed until one is declared: that of a source without a camera."""

_WINDOW_S = 2.0
_WINDOW_PERIODS = 20
_MOST = 4096


@dataclass(frozen=True)
class FreshnessReport:
    """What :meth:`Freshness.judge` found.

    Attributes:
        alive: The newest message is younger than ten periods.
        on_time: Messages arrive at 90 % or more of the declared rate; true while too few arrived to tell, if alive.
        age_ms: Age of the newest message, ms; None before the first.
        rate_hz: Messages per second over the last two seconds or twenty periods, whichever is longer.
        declared_hz: The rate it was judged against.
        lost: Messages missing from the sequence so far, those the publisher dropped for this subscriber.
        restarts: How often the publisher's session changed.
    """

    alive: bool
    on_time: bool
    age_ms: float | None
    rate_hz: float
    declared_hz: float
    lost: int
    restarts: int


class Freshness:
    """Judges one topic of one source.

    Args:
        own_boot_id: The subscriber's :func:`stream.publish.wire.boot_id`; empty to judge by arrival always.
        rate_hz: Rate to judge by until a message declares one.
    """

    def __init__(self, own_boot_id: str = "", rate_hz: float = IDLE_HZ) -> None:
        self._boot = own_boot_id
        self._declared = rate_hz
        self._arrivals: deque[int] = deque(maxlen=_MOST)
        self._since_ns: int | None = None
        self._newest_ns: int | None = None
        self._session: str | None = None
        self._seq = 0
        self._lost = 0
        self._restarts = 0

    def observe(
        self,
        *,
        seq: int,
        session: str,
        t_arrival_ns: int,
        t_publish_ns: int | None = None,
        boot: str = "",
        rate_hz: float | None = None,
    ) -> None:
        """Take note of a message.

        Args:
            seq: Its sequence number; a repeat (the status cache) counts for nothing.
            session: Its session.
            t_arrival_ns: When it arrived, CLOCK_MONOTONIC of the subscriber.
            t_publish_ns: When it was sent, CLOCK_MONOTONIC of the publisher.
            boot: The publisher's boot id.
            rate_hz: The rate it declares, if it does.
        """
        if session != self._session:
            self._restarts += self._session is not None
            self._session = session
            self._arrivals.clear()
            self._since_ns = t_arrival_ns
        elif seq <= self._seq:
            return
        else:
            self._lost += seq - self._seq - 1
        self._seq = seq
        if rate_hz is not None and rate_hz > 0 and rate_hz != self._declared:
            # Arrivals of the old rate say nothing of the new one.
            self._declared = rate_hz
            self._arrivals.clear()
            self._since_ns = t_arrival_ns
        same_clock = bool(self._boot) and boot == self._boot and t_publish_ns is not None
        self._newest_ns = t_publish_ns if same_clock else t_arrival_ns
        self._arrivals.append(t_arrival_ns)

    def judge(self, now_ns: int) -> FreshnessReport:
        """Judge at `now_ns`, CLOCK_MONOTONIC of the subscriber."""
        if self._newest_ns is None or self._since_ns is None:
            return FreshnessReport(False, False, None, 0.0, self._declared, 0, 0)
        period_s = 1.0 / self._declared
        age_ms = max(0.0, (now_ns - self._newest_ns) / 1e6)
        alive = age_ms < ALIVE_PERIODS * period_s * 1e3
        window_s = max(_WINDOW_S, _WINDOW_PERIODS * period_s)
        since_ns = max(self._since_ns, now_ns - int(window_s * 1e9))
        seen = sum(arrival > since_ns for arrival in self._arrivals)
        span_s = (now_ns - since_ns) / 1e9
        rate = seen / span_s if span_s > 0 else 0.0
        # One message more or less is the phase of the clock, not lateness.
        on_time = alive and seen + 1 >= ON_TIME_SHARE * self._declared * span_s
        return FreshnessReport(alive, on_time, age_ms, rate, self._declared, self._lost, self._restarts)
