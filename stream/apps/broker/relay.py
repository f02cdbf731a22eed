"""What a broker sends on: every message once, each source from one upstream at a time. No socket, no clock."""

from __future__ import annotations

from collections.abc import Callable, Collection

from stream.publish.message import MessageError
from stream.publish.rules import check_source

SILENT_NS = 3_000_000_000
"""An upstream silent about a source for longer than this gives way to another that has it."""
MOST_SOURCES = 256
MOST_BYTES = 8 << 20


class Relay:
    """Decides which frames pass.

    Args:
        kinds: That pass, as in ``faces``.
        tell: Takes a line for people.

    Attributes:
        passed: Frames sent on.
        held_back: Frames of no source of ours, too large, or of a source that comes from another upstream.
    """

    def __init__(self, kinds: Collection[str], tell: Callable[[str], None]) -> None:
        self._kinds, self._tell = frozenset(kinds), tell
        self._owners: dict[str, tuple[str, int]] = {}
        self._told: set[tuple[str, str]] = set()
        self.passed = self.held_back = 0

    def passes(self, frame: bytes, upstream: str, now_ns: int) -> bool:
        """Whether a frame is sent on.

        Args:
            frame: As it came, topic included.
            upstream: Where from.
            now_ns: CLOCK_MONOTONIC.
        """
        good = self._is_ours(frame, upstream, now_ns)
        self.passed += good
        self.held_back += not good
        return good

    def _is_ours(self, frame: bytes, upstream: str, now_ns: int) -> bool:
        head, space, _ = frame.partition(b" ")
        kind, slash, source = head.decode("ascii", "replace").partition("/")
        if not space or not slash or kind not in self._kinds or len(frame) > MOST_BYTES:
            return False
        owner, heard_ns = self._owners.get(source, ("", 0))
        if not owner:
            try:
                check_source(source)
            except MessageError:
                return False
            if len(self._owners) >= MOST_SOURCES:
                return False
        if owner and owner != upstream and now_ns - heard_ns < SILENT_NS:
            if (source, upstream) not in self._told:
                self._told.add((source, upstream))
                self._tell(f"{source} comes from {owner} already: what {upstream} says of it is held back")
            return False
        if owner and owner != upstream:
            self._tell(f"{source} comes from {upstream} now; {owner} is silent")
        self._owners[source] = (upstream, now_ns)
        return True
