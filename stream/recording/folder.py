"""A folder of recordings that never outgrows its quota: parts of some minutes, the oldest deleted, moments kept.

Parts are named after the wall time they begin at. With a trigger the folder is a ring: what happened from some seconds
before it to some seconds after is copied into ``moment-….mcap``, and parts older than the ring's length go.
"""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from stream.recording.mcap_file import McapFile, RecordingError
from stream.recording.reading import McapReader

PART, MOMENT = "part-", "moment-"
_LONGEST_MOMENT_NS = 600 * 10**9


@dataclass(frozen=True)
class Keeping:
    """What a folder keeps.

    Attributes:
        part_s: Length of a part, s.
        ring_s: Parts that ended longer ago than this are deleted; None keeps them as far as the quota goes.
        quota_bytes: Most that the folder's recordings take together; None for no limit.
        before_s: A moment begins this long before its trigger, s.
        after_s: And ends this long after the last one, s; ten minutes after the first at the latest.
    """

    part_s: float = 600.0
    ring_s: float | None = None
    quota_bytes: int | None = None
    before_s: float = 30.0
    after_s: float = 30.0


class RecordingFolder:
    """Recordings of one folder, written by one recorder.

    Args:
        path: The folder; made where it is missing.
        keeping: What it keeps.
        tell: Takes a line for people.

    Raises:
        RecordingError: If the extra is missing.
        OSError: If the folder cannot be made.
    """

    def __init__(self, path: Path, keeping: Keeping, tell: Callable[[str], None]) -> None:
        self.path, self._keeping, self._tell = path, keeping, tell
        path.mkdir(parents=True, exist_ok=True)
        self._part: McapFile | None = None
        self._moment: tuple[int, int] | None = None
        self._checked_ns = 0

    def write(self, topic: str, body: bytes, log_ns: int) -> None:
        """Add a message; a part that is long enough, or half a quota large, ends first."""
        part, keeping = self._part, self._keeping
        if part is not None and part.first_ns is not None:
            old = log_ns - part.first_ns >= keeping.part_s * 1e9
            large = keeping.quota_bytes is not None and part.size * 4 >= keeping.quota_bytes
            if old or large:
                self._end_part()
        if self._part is None:
            self._part = McapFile(_free_name(self.path, PART, log_ns), log_ns)
        self._part.write(topic, body, log_ns)

    def trigger(self, log_ns: int) -> None:
        """Something happened whose moment is to be kept."""
        begin = log_ns - int(self._keeping.before_s * 1e9)
        end = log_ns + int(self._keeping.after_s * 1e9)
        if self._moment is None:
            self._moment = (begin, end)
        else:
            self._moment = (self._moment[0], min(end, self._moment[0] + _LONGEST_MOMENT_NS))

    def tick(self, log_ns: int) -> None:
        """Hand over what is a second old, keep a moment that is over, delete what is too much; call it often."""
        if self._part is not None and log_ns - self._part.last_ns >= 1_000_000_000:
            self._part.flush(log_ns)
        if self._moment is not None and log_ns > self._moment[1]:
            self._keep_moment(log_ns)
        if log_ns - self._checked_ns >= 1_000_000_000:
            self._checked_ns = log_ns
            self._delete(log_ns)

    def close(self, log_ns: int) -> None:
        """End the part; a moment that is not over yet ends here."""
        if self._moment is not None:
            self._keep_moment(log_ns)
        self._end_part()
        self._delete(log_ns)

    def _end_part(self) -> None:
        part, self._part = self._part, None
        if part is not None:
            part.close()

    def _keep_moment(self, log_ns: int) -> None:
        assert self._moment is not None
        (begin, end), self._moment = self._moment, None
        if self._part is not None:
            self._part.flush(log_ns)
        kept = McapFile(_free_name(self.path, MOMENT, begin), begin)
        try:
            for path in sorted(self.path.glob(f"{PART}*.mcap")):
                with contextlib.suppress(RecordingError):
                    for message in McapReader(path):
                        if begin <= message.log_ns <= end:
                            kept.write(message.topic, message.body, message.log_ns)
            kept.close()
        except BaseException:
            kept.abandon()
            raise
        self._tell(f"kept {kept.messages} messages in {kept.path}")

    def _delete(self, log_ns: int) -> None:
        current = None if self._part is None else self._part.path
        parts = [path for path in sorted(self.path.glob(f"{PART}*.mcap")) if path != current]
        ring_s, quota = self._keeping.ring_s, self._keeping.quota_bytes
        if ring_s is not None:
            # A part ends where the next one begins.
            latest = log_ns if self._part is None else self._part.first_ns or log_ns
            ends = [*map(_begun_ns, parts), latest][1:]
            oldest = log_ns - int(ring_s * 1e9)
            if self._moment is not None:
                oldest = min(oldest, self._moment[0])
            for path, ended in zip(list(parts), ends, strict=True):
                if ended < oldest:
                    path.unlink(missing_ok=True)
                    parts.remove(path)
        if quota is None:
            return
        moments = sorted(self.path.glob(f"{MOMENT}*.mcap"))
        sizes = {path: path.stat().st_size for path in (*parts, *moments)}
        total = sum(sizes.values()) + (0 if self._part is None else self._part.size)
        # The current part may take as much again before it is looked at.
        for path in (*parts, *moments):
            if total <= quota * 3 // 4:
                break
            path.unlink(missing_ok=True)
            total -= sizes[path]
            if ring_s is None or path in moments:
                self._tell(f"deleted {path}: the folder's quota is {quota} bytes")


def _free_name(folder: Path, prefix: str, log_ns: int) -> Path:
    """A name after the time, later than every one there."""
    stamp_ms = log_ns // 1_000_000
    while True:
        sec, ms = divmod(stamp_ms, 1000)
        when = datetime.datetime.fromtimestamp(sec, datetime.timezone.utc)
        path = folder / f"{prefix}{when:%Y%m%dT%H%M%S}{ms:03d}Z.mcap"
        if not path.exists():
            return path
        stamp_ms += 1


def _begun_ns(path: Path) -> int:
    try:
        when = datetime.datetime.strptime(path.stem.removeprefix(PART)[:15] + "+0000", "%Y%m%dT%H%M%S%z")
    except ValueError:
        return 0
    return int(when.timestamp()) * 1_000_000_000
