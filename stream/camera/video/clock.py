"""Times of frames, from the first, strictly rising, whatever the container says."""

from __future__ import annotations

import heapq
from fractions import Fraction

import av


class FrameClock:
    """Gives each frame its time: its presentation time stamp, else its place in the order of decoding times.

    Args:
        period_ns: How long a frame lasts where nothing says so, ns.
        by_decoding: Whether the container only says when a frame is decoded: then the frames take these times in their
            order.
    """

    def __init__(self, period_ns: int, by_decoding: bool = False) -> None:
        self._period_ns, self._by_decoding = period_ns, by_decoding
        self._first_ns: int | None = None
        self._last_ns = -1
        self._decoding: list[int] = []

    def packet(self, packet: av.Packet[av.VideoStream]) -> None:
        """Take note of a packet that was decoded, before its frame is shown."""
        if self._by_decoding and packet.dts is not None and packet.size:
            heapq.heappush(self._decoding, nanoseconds(packet.dts, packet.time_base))

    def step(self, frame: av.VideoFrame) -> int:
        """The time of the next frame that is shown, ns from the first."""
        stamp: int | None = None
        if self._by_decoding:
            stamp = heapq.heappop(self._decoding) if self._decoding else None
        elif frame.pts is not None and frame.time_base:
            stamp = nanoseconds(frame.pts, frame.time_base)
        if stamp is None:
            t_ns = self._last_ns + self._period_ns if self._last_ns >= 0 else 0
        else:
            self._first_ns = stamp if self._first_ns is None else self._first_ns
            t_ns = stamp - self._first_ns
        if t_ns <= self._last_ns:
            # Broken files repeat or turn back their times; what comes after goes on from here.
            t_ns = self._last_ns + self._period_ns
        self._last_ns = t_ns
        return t_ns


def nanoseconds(stamp: int, base: Fraction) -> int:
    """A stamp in ns."""
    return round(stamp * 1_000_000_000 * base)
