"""The recorder's decisions: what is written, what was lost on the way, what is worth a moment. No socket."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from stream.publish.message import EVENTS
from stream.publish.wire import UNREADABLE
from stream.recording.folder import RecordingFolder
from stream.recording.mcap_file import KINDS, MOST_TOPICS, McapFile, RecordingError

MOST_BODY_BYTES = 8 << 20
_OLDEST_NS = 60 * 10**9


class _Seen(msgspec.Struct):
    session: str = ""
    seq: int = -1
    boot_id: str = ""
    t_publish_ns: int = 0
    event: str | None = None
    faces: list[_Label] = []


class _Label(msgspec.Struct):
    label: str | None = None


_decoder = msgspec.json.Decoder(_Seen)


@dataclass(frozen=True)
class Trigger:
    """What is worth a moment.

    Attributes:
        event: One of ``stream.publish.message.EVENTS``; empty for a label.
        label: A class name that a face has not had a message before; empty for an event.
    """

    event: str = ""
    label: str = ""

    @classmethod
    def parse(cls, text: str) -> Trigger:
        """Read ``camera_lost`` or ``label=anger``.

        Raises:
            RecordingError: If it is neither.
        """
        name, equals, label = text.partition("=")
        if name == "label" and equals and label:
            return cls(label=label)
        if text not in EVENTS:
            raise RecordingError(f"trigger {text!r} is neither an event ({', '.join(EVENTS)}) nor label=CLASS")
        return cls(event=text)


class SingleFile:
    """One file that ends when it is as large as it may be.

    Args:
        path: Must not exist yet.
        begun_ns: Wall time now, ns.
        most_bytes: Largest size; None for no limit.
    """

    def __init__(self, path: Path, begun_ns: int, most_bytes: int | None = None) -> None:
        self.path, self._most = path, most_bytes
        self._file = McapFile(path, begun_ns)

    @property
    def full(self) -> bool:
        """Whether it is as large as it may be."""
        return self._most is not None and self._file.size >= self._most

    def write(self, topic: str, body: bytes, log_ns: int) -> None:
        """Add a message."""
        self._file.write(topic, body, log_ns)

    def trigger(self, log_ns: int) -> None:
        """Everything is kept anyway."""

    def tick(self, log_ns: int) -> None:
        """Hand over what is a second old."""
        if log_ns - self._file.last_ns >= 1_000_000_000:
            self._file.flush(log_ns)

    def close(self, log_ns: int) -> None:
        """End the file."""
        self._file.close()


class Recorder:
    """Takes frames of the wire in the order they came.

    Args:
        out: Where to.
        triggers: What is worth a moment.
        tell: Takes a line for people.
        offset_ns: Wall time minus CLOCK_MONOTONIC, as it was when the recorder started, ns.
        own_boot_id: This machine's; empty to take times of arrival always.

    Attributes:
        written: Messages written.
        lost: Messages missing from the sequences, dropped by the publisher because this reader was slow.
        skipped: Frames that are no message of ours.
    """

    def __init__(
        self,
        out: RecordingFolder | SingleFile,
        triggers: tuple[Trigger, ...],
        tell: Callable[[str], None],
        offset_ns: int = 0,
        own_boot_id: str = "",
    ) -> None:
        self._offset_ns, self._boot, self._last_ns = offset_ns, own_boot_id, 0
        self._out, self._triggers, self._tell = out, triggers, tell
        self._sequences: dict[str, tuple[str, int]] = {}
        self._labels: dict[str, frozenset[str]] = {}
        self.written = self.lost = self.skipped = 0

    def take(self, frame: bytes, now_ns: int) -> None:
        """Write a frame, topic included.

        Its log time is when it was published, where that clock is this machine's, else when it arrived.

        Args:
            frame: As it came.
            now_ns: CLOCK_MONOTONIC.

        Raises:
            OSError: If the disk will not take it.
        """
        head, space, body = frame.partition(b" ")
        topic = head.decode("ascii", "replace")
        kind, slash, source = topic.partition("/")
        known = topic in self._sequences
        if (
            not space
            or not slash
            or not source
            or not source.isprintable()
            or kind not in KINDS
            or len(frame) > MOST_BODY_BYTES
            or (not known and len(self._sequences) >= MOST_TOPICS)
        ):
            self.skipped += 1
            return
        t_ns = now_ns
        if kind == "frames":
            self._sequences.setdefault(topic, ("", 0))
        else:
            try:
                seen = _decoder.decode(body)
            except UNREADABLE:
                self.skipped += 1
                return
            if not self._in_order(topic, seen):
                return
            if self._boot and seen.boot_id == self._boot and 0 <= now_ns - seen.t_publish_ns < _OLDEST_NS:
                t_ns = seen.t_publish_ns
        self._last_ns = max(self._last_ns, t_ns + self._offset_ns)
        if kind != "frames" and self._fires(topic, kind, seen):
            self._out.trigger(self._last_ns)
        self._out.write(topic, body, self._last_ns)
        self.written += 1

    def _in_order(self, topic: str, seen: _Seen) -> bool:
        """Count what is missing; false for a status that was only sent again."""
        session, last = self._sequences.get(topic, ("", -1))
        self._sequences[topic] = (seen.session, seen.seq)
        if session != seen.session or last < 0:
            return True
        if seen.seq <= last:
            self._sequences[topic] = (session, last)
            return False
        if seen.seq > last + 1:
            self.lost += seen.seq - last - 1
            self._tell(f"{topic}: {seen.seq - last - 1} messages lost before seq {seen.seq}")
        return True

    def _fires(self, topic: str, kind: str, seen: _Seen) -> bool:
        if not self._triggers:
            return False
        before = self._labels.get(topic, frozenset())
        labels = frozenset(face.label for face in seen.faces if face.label is not None)
        if kind == "faces":
            self._labels[topic] = labels
        new = labels - before
        return any(
            (kind == "event" and trigger.event and trigger.event == seen.event)
            or (kind == "faces" and trigger.label in new)
            for trigger in self._triggers
        )
