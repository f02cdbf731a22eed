"""A recording as XDF 1.0 (github.com/sccn/xdf, its specification): scores by face, and a stream of markers.

Times are CLOCK_MONOTONIC seconds, which is LSL's ``local_clock()`` on Linux, so a recording lines up with what
LabRecorder wrote on the same machine in the same boot. Scores are irregular streams (nominal rate 0): readers draw one
line through regular ones, and would move what follows a frame that was lost.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO
from xml.sax.saxutils import escape

from stream.publish.message import Event
from stream.recording.export.observations import Observation, Observations

_FILE_HEADER, _STREAM_HEADER, _SAMPLES, _STREAM_FOOTER = 1, 2, 3, 6


class _Stream:
    """One stream of the file.

    Args:
        file: Open.
        number: Of the stream, from 1.
        name: Unique in the file.
        labels: Of the channels; empty for one channel of text.
    """

    def __init__(self, file: BinaryIO, number: int, name: str, kind: str, labels: Sequence[str]) -> None:
        self._file, self._number = file, number
        self._first_s = self._last_s = 0.0
        self._count = 0
        channels = "".join(f"<channel><label>{escape(label)}</label></channel>" for label in labels)
        form = "float32" if labels else "string"
        _chunk(
            file,
            _STREAM_HEADER,
            struct.pack("<I", number),
            f"<?xml version='1.0'?><info><name>{escape(name)}</name><type>{kind}</type>"
            f"<channel_count>{len(labels) or 1}</channel_count><nominal_srate>0</nominal_srate>"
            f"<channel_format>{form}</channel_format><source_id>{escape(name)}</source_id>"
            f"<desc><channels>{channels}</channels></desc></info>".encode(),
        )

    def add(self, t_s: float, values: Sequence[float] | str) -> None:
        """Add a sample."""
        packed = _text(values.encode()) if isinstance(values, str) else struct.pack(f"<{len(values)}f", *values)
        sample = b"\x08" + struct.pack("<d", t_s) + packed
        _chunk(self._file, _SAMPLES, struct.pack("<I", self._number), b"\x01\x01" + sample)
        self._first_s = self._first_s if self._count else t_s
        self._last_s = t_s
        self._count += 1

    def end(self) -> None:
        """Write the footer."""
        _chunk(
            self._file,
            _STREAM_FOOTER,
            struct.pack("<I", self._number),
            f"<?xml version='1.0'?><info><first_timestamp>{self._first_s!r}</first_timestamp>"
            f"<last_timestamp>{self._last_s!r}</last_timestamp><sample_count>{self._count}</sample_count>"
            "<clock_offsets></clock_offsets></info>".encode(),
        )


def write_xdf(observations: Observations, out: Path) -> int:
    """Write an XDF file.

    Args:
        observations: Of a recording.
        out: Where to.

    Returns:
        How many samples of scores it has.
    """
    count = 0
    with out.open("wb") as file:
        file.write(b"XDF:")
        _chunk(file, _FILE_HEADER, b"<?xml version='1.0'?><info><version>1.0</version></info>")
        scores: dict[str, _Stream] = {}
        markers: dict[str, _Stream] = {}
        held: dict[str, str | None] = {}
        for each in observations:
            marker = markers.get(each.source)
            if marker is None:
                number = len(scores) + len(markers) + 1
                marker = markers[each.source] = _Stream(file, number, f"{each.source}.markers", "Markers", ())
            for text in _changes(each, held):
                marker.add(each.clock_s, text)
            for face in each.faces:
                if face.smoothed is None or set(face.smoothed) != set(observations.labels):
                    continue
                name = f"{each.source}.{face.id}"
                if name not in scores:
                    number = len(scores) + len(markers) + 1
                    scores[name] = _Stream(file, number, name, "Expression", observations.labels)
                scores[name].add(each.clock_s, [face.smoothed[label] for label in observations.labels])
                count += 1
        for stream in (*scores.values(), *markers.values()):
            stream.end()
    return count


def _changes(each: Observation, held: dict[str, str | None]) -> list[str]:
    """Markers: events as they are named, and every change of a face's label."""
    if isinstance(each.message, Event):
        return [" ".join(filter(None, (each.message.event, each.message.face)))]
    found = []
    for face in each.faces:
        name = f"{each.source}.{face.id}"
        if held.get(name) != face.label:
            held[name] = face.label
            found.append(f"label {face.id} {face.label or 'none'}")
    return found


def _chunk(file: BinaryIO, tag: int, *contents: bytes) -> None:
    content = b"".join(contents)
    file.write(_length(len(content) + 2) + struct.pack("<H", tag) + content)


def _length(length: int) -> bytes:
    return struct.pack("<BB", 1, length) if length < 256 else struct.pack("<BI", 4, length)


def _text(text: bytes) -> bytes:
    return _length(len(text)) + text
