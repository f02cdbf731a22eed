"""A recorded run through the policy: messages from a log, on the clock that they were made by."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path

import msgspec

from engine.errors import DferError
from engine.files import open_file
from engine.text import say
from stream.apps.driver.policy import DriverPolicy
from stream.publish.driver import DriverState
from stream.publish.message import Face, Faces, MessageError, Window
from stream.publish.wire import UNREADABLE, decode

_TICK_NS = 100_000_000
_LONGEST_HOLE_NS = 10_000_000_000
_MOST_LINE_BYTES = 4 << 20
_NEED = Window(0, 0, 0.0)


class ReplayError(DferError):
    """A log that cannot be read."""


class _Row(msgspec.Struct):
    """What is used of a row of ``dfer-stream score``."""

    path: str
    t_s: float
    frame_id: int
    face: str
    box: tuple[float, float, float, float]
    state: str
    ready: bool
    reason: str
    primary: bool
    score: float
    smoothed: dict[str, float] | None = None
    probs: dict[str, float] | None = None


_row_decoder = msgspec.json.Decoder(_Row)


def read_log(path: Path) -> Iterator[Faces | None]:
    """The ``faces`` messages of a log in order, None for a line that cannot be read as one.

    Args:
        path: A recording, what ``dfer-stream run --json`` or ``listen --json`` printed, or the rows of ``dfer-stream
            score`` of one video; other kinds of messages are passed over.

    Raises:
        ReplayError: If no line of it is a message.
        RecordingError: If it is a recording and the extra is missing, or it cannot be read.
    """
    if path.suffix == ".mcap":
        yield from _recording(path)
        return
    with open_file(path, pipes=True) as lines:
        first = lines.readline(_MOST_LINE_BYTES)
        body = _lines(first, lines)
        if b'"t_s"' in first and b'"schema"' not in first:
            yield from _rows(body, path)
            return
        found = False
        for line in body:
            if b'"dfer.faces/' not in line and b'"schema"' in line:
                continue
            try:
                message = decode(line, Faces)
                found = True
                yield message
            except MessageError:
                yield None
        if not found:
            raise ReplayError(f"{path}: no faces message in it", "give what `dfer-stream run --json` printed")


def replay(messages: Iterable[Faces | None], policy: DriverPolicy) -> Iterator[DriverState]:
    """What the policy publishes over a log; between messages it is called as it would be live.

    Args:
        messages: As :func:`read_log` gives them.
        policy: New.
    """
    now_ns = offset_ns = 0
    for message in messages:
        if message is None:
            yield from policy.step(None, now_ns, unreadable=True)
            continue
        captured = message.t_capture_ns
        if message.t_capture_src == "file" and captured is not None:
            # A file played faster or slower than it was taken: its own time line counts.
            offset_ns = captured - message.t_publish_ns
        t_ns = message.t_publish_ns + offset_ns
        hole_ns = t_ns - now_ns
        if now_ns and hole_ns > _TICK_NS:
            for k in range(1, min(hole_ns, _LONGEST_HOLE_NS) // _TICK_NS + 1):
                yield from policy.step(None, now_ns + k * _TICK_NS - 1)
        now_ns = t_ns
        yield from policy.step(message, now_ns)


def _recording(path: Path) -> Iterator[Faces | None]:
    from stream.recording.reading import McapReader

    reader = McapReader(path)
    for recorded in reader:
        if recorded.kind == "faces":
            try:
                yield decode(recorded.body, Faces)
            except MessageError:
                yield None
    if reader.cut is not None:
        say(reader.cut)


def _lines(first: bytes, rest: Iterable[bytes]) -> Iterator[bytes]:
    if first.strip():
        yield first
    yield from (line for line in rest if line.strip())


def _rows(lines: Iterable[bytes], path: Path) -> Iterator[Faces]:
    try:
        rows = map(_row_decoder.decode, lines)
        for seq, ((name, frame_id, t_s), faces) in enumerate(groupby(rows, lambda r: (r.path, r.frame_id, r.t_s))):
            # Times of a capture clock start somewhere above zero.
            t_ns = 1_000_000_000 + int(t_s * 1e9)
            yield Faces(
                source=path.stem,
                session=name,
                seq=seq,
                frame_id=frame_id,
                dropped_total=0,
                t_publish_ns=t_ns,
                boot_id="",
                valid=True,
                reason="ok",
                t_capture_ns=t_ns,
                t_capture_src="file",
                faces=[_face(row) for row in faces],
            )
    except UNREADABLE as error:
        raise ReplayError(f"{path}: a line is no row of `dfer-stream score`: {error}") from error


def _face(row: _Row) -> Face:
    return Face(
        row.face, row.state, 0, row.primary, row.box, row.score, row.ready, row.reason, _NEED, probs=row.probs,
        smoothed=row.smoothed,
    )  # fmt: skip
