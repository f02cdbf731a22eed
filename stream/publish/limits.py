"""How much of a publisher others may take: the one policy for whoever connects. Pure, but for the descriptor limit."""

from __future__ import annotations

import contextlib
import resource
from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass, field
from pathlib import Path

RESERVED_DESCRIPTORS = 128
"""Left to the daemon itself (camera, model, temperatures, logs): no subscriber ever gets one of these."""
_DESCRIPTORS_EACH = 3  # the subscriber's own, and both ends of the way inside
_ORIGIN_SHARE = 0.75


@dataclass(frozen=True)
class SubscriberLimits:
    """What subscribers may take. Who exceeds it is disconnected; nobody else notices.

    Attributes:
        subscribers: Connections at once; three quarters of them from one origin (a user of this machine, an address).
        subscriptions: Topics that one of them may be subscribed to at once.
        topic_bytes: Longest topic.
        burst_bytes: What one of them may send at once, handshake included: 64 topics of a usual length fit ten times.
        bytes_per_s: What it may send for ever; answering heartbeats takes 10.
        connects_per_s: New connections that are looked at; later ones wait in the kernel's queue.
    """

    subscribers: int = 64
    subscriptions: int = 64
    topic_bytes: int = 256
    burst_bytes: int = 32 * 1024
    bytes_per_s: int = 2 * 1024
    connects_per_s: int = 50


@dataclass
class Allowance:
    """A token bucket: `burst` at once, `per_s` for ever.

    Args:
        burst: What it holds when full, and at first.
        per_s: How fast it fills.
        now_ns: CLOCK_MONOTONIC.
    """

    burst: float
    per_s: float
    now_ns: int
    left: float = field(init=False)

    def __post_init__(self) -> None:
        self.left = self.burst

    def take(self, amount: float, now_ns: int) -> bool:
        """Take `amount` out; false, and nothing taken, where there is not so much."""
        self.left = min(self.burst, self.left + (now_ns - self.now_ns) * self.per_s / 1e9)
        self.now_ns = now_ns
        if amount > self.left:
            return False
        self.left -= amount
        return True


class Seats:
    """Who is connected, counted by origin.

    Args:
        total: Connections at once, at least 1.
    """

    def __init__(self, total: int) -> None:
        self.total = total
        self.each = max(1, int(total * _ORIGIN_SHARE))
        self._by_origin: Counter[Hashable] = Counter()

    @property
    def taken(self) -> int:
        """Connections now."""
        return self._by_origin.total()

    def take(self, origin: Hashable) -> bool:
        """Seat a connection; false where none is free, or its origin has its share."""
        if self.taken >= self.total or self._by_origin[origin] >= self.each:
            return False
        self._by_origin[origin] += 1
        return True

    def leave(self, origin: Hashable) -> None:
        """A seated connection is gone."""
        self._by_origin[origin] -= 1
        if not self._by_origin[origin]:
            del self._by_origin[origin]


def affordable(wanted: int) -> int:
    """How many subscribers the process's descriptors allow, at least 1; raises its soft limit as far as that helps.

    What is open now, :data:`RESERVED_DESCRIPTORS` and three for each subscriber must fit under the limit.

    Args:
        wanted: More than this are never needed.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    kept = len(list(Path("/proc/self/fd").iterdir())) + RESERVED_DESCRIPTORS
    needed = kept + _DESCRIPTORS_EACH * wanted
    if soft != resource.RLIM_INFINITY and soft < needed:
        raised = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        with contextlib.suppress(OSError, ValueError):  # a sandbox may forbid it
            resource.setrlimit(resource.RLIMIT_NOFILE, (raised, hard))
            soft = raised
    if soft == resource.RLIM_INFINITY:
        return wanted
    return min(wanted, max(1, (soft - kept) // _DESCRIPTORS_EACH))
