"""When each message of a recording is due again. Pure: times go in and come out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from stream.recording.reading import Recorded


@dataclass(frozen=True)
class Due:
    """A message and when it is due.

    Attributes:
        after_ns: Since the replay began, ns.
        message: As it was recorded.
    """

    after_ns: int
    message: Recorded


def schedule(messages: Iterable[Recorded], speed: float) -> Iterator[Due]:
    """Each message in the recording's order, with the recording's pauses.

    Args:
        messages: Of one recording, or of several in a row.
        speed: How many times faster than it happened; above 0.
    """
    first_ns, latest_ns = None, 0
    for message in messages:
        first_ns = message.log_ns if first_ns is None else first_ns
        latest_ns = max(latest_ns, int((message.log_ns - first_ns) / speed))
        yield Due(latest_ns, message)
