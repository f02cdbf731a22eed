"""What a recording says of faces, message by message, on a time line that begins with its first frame."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from stream.publish.message import Event, Face, Faces, MessageError
from stream.publish.wire import decode
from stream.recording.reading import Recorded


@dataclass(frozen=True)
class Observation:
    """One message of a recording, decoded.

    Attributes:
        source: The source's name.
        t_s: Capture time from the first frame of its source, s; of an event, when it was published.
        clock_s: The same on the publisher's CLOCK_MONOTONIC, s: the time that LSL uses on Linux.
        message: ``Faces`` of a live frame, or an ``Event``.
    """

    source: str
    t_s: float
    clock_s: float
    message: Faces | Event

    @property
    def faces(self) -> list[Face]:
        """The faces of the frame; none for an event."""
        return self.message.faces if isinstance(self.message, Faces) else []


class Observations:
    """Decodes a recording's messages; iterate once.

    Args:
        messages: In the recording's order.
        source: Only this one; empty for all.

    Attributes:
        labels: The model's classes, as the first message with a model names them.
        skipped: Messages of another schema.
        boots: Boots of publishers met so far; times of two do not compare.
    """

    def __init__(self, messages: Iterable[Recorded], source: str = "") -> None:
        self._messages, self._source = messages, source
        self.labels: tuple[str, ...] = ()
        self.skipped = 0
        self.boots: set[str] = set()

    def __iter__(self) -> Iterator[Observation]:
        first: dict[str, int] = {}
        for recorded in self._messages:
            if recorded.kind not in ("faces", "event") or self._source not in ("", recorded.source):
                continue
            try:
                faces = recorded.kind == "faces"
                message = decode(recorded.body, Faces) if faces else decode(recorded.body, Event)
            except MessageError:
                self.skipped += 1
                continue
            t_ns: int | None
            t_ns = message.t_capture_ns if isinstance(message, Faces) else message.t_publish_ns
            if t_ns is None or (isinstance(message, Faces) and not message.valid):
                continue
            if isinstance(message, Faces):
                first.setdefault(message.source, t_ns)
                if message.model is not None and not self.labels:
                    self.labels = message.model.labels
            elif message.source not in first:
                continue  # before the first frame there is no time line yet
            self.boots.add(message.boot_id)
            yield Observation(message.source, (t_ns - first[message.source]) / 1e9, t_ns / 1e9, message)
