"""One recording: an MCAP file (mcap.dev) of the messages as they came.

A channel for each topic, named as on the wire (``faces/cam0``), with the JSON Schema of its kind; pictures are
``foxglove.CompressedImage``. Log times are wall time, advanced by CLOCK_MONOTONIC from the moment the recorder started,
so that a wall clock that jumps tears no recording.

Chunks end once a second and are handed to the kernel whole, so a recorder that is killed loses at most its last second.
``fdatasync`` is called every :data:`SYNC_S`: that much a power cut can take. A file is whole once :meth:`close` has
written its summary; until then it is what ``reading.py`` reads up to the last whole chunk.
"""

from __future__ import annotations

import base64
import contextlib
import importlib
import json
import os
from pathlib import Path
from types import ModuleType
from typing import Any

from engine.errors import DferError
from stream import __version__
from stream.publish.wire import schema_path

CHUNK_NS = 1_000_000_000
SYNC_S = 5.0
KINDS = ("faces", "status", "event", "driver", "frames")
MOST_TOPICS = 1024
_CHUNK_BYTES = 4 << 20
PICTURE_SCHEMA = {
    "title": "foxglove.CompressedImage",
    "type": "object",
    "properties": {
        "timestamp": {
            "type": "object",
            "title": "time",
            "properties": {"sec": {"type": "integer"}, "nsec": {"type": "integer"}},
        },
        "frame_id": {"type": "string"},
        "data": {"type": "string", "contentEncoding": "base64"},
        "format": {"type": "string"},
    },
}


class RecordingError(DferError):
    """A recording that cannot be written or read."""


def library(name: str) -> ModuleType:
    """A module of the extra ``record``.

    Raises:
        RecordingError: If it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError:
        raise RecordingError("recordings need mcap", "pip install 'dferstream[record]'") from None


class McapFile:
    """A recording that is being written.

    Args:
        path: Must not exist yet; its folder does.
        begun_ns: Wall time of the first message, ns.

    Attributes:
        path: The file.
        first_ns: Log time of the first message; None before it.
        last_ns: Of the newest.
        messages: Written so far.

    Raises:
        RecordingError: If the extra is missing.
        OSError: If the file exists or cannot be made.
    """

    def __init__(self, path: Path, begun_ns: int) -> None:
        writer = library("mcap.writer")
        self.path = path
        self.first_ns: int | None = None
        self.last_ns = begun_ns
        self.messages = 0
        self._file = path.open("xb")
        self._channels: dict[str, int] = {}
        self._schemas: dict[str, int] = {}
        self._chunk_ns = self._synced_ns = begun_ns
        self._writer: Any = writer.Writer(self._file, chunk_size=_CHUNK_BYTES)
        self._writer.start(profile="", library=f"dferstream {__version__}")

    @property
    def size(self) -> int:
        """Its bytes so far."""
        return self.path.stat().st_size if self._file.closed else self._file.tell()

    def write(self, topic: str, body: bytes, log_ns: int) -> None:
        """Add a message.

        Args:
            topic: ``kind/source``.
            body: As it came.
            log_ns: Wall time, ns, no earlier than the one before.

        Raises:
            OSError: If the disk will not take it; the file ends with its last whole chunk then.
        """
        if log_ns - self._chunk_ns >= CHUNK_NS:
            self.flush(log_ns)
        kind, _, source = topic.partition("/")
        if kind == "frames":
            body = _picture(body, source, log_ns)
        self._writer.add_message(self._channel(topic, kind), log_ns, body, log_ns, self.messages)
        self.messages += 1
        self.first_ns = log_ns if self.first_ns is None else self.first_ns
        self.last_ns = log_ns

    def flush(self, log_ns: int) -> None:
        """End the chunk and hand it to the kernel; to the disk if that is due."""
        self._chunk_ns = log_ns
        whole = self._file.tell()
        try:
            self._writer.flush()
        except OSError:
            self._cut(whole)
            raise
        if log_ns - self._synced_ns >= SYNC_S * 1e9:
            self._synced_ns = log_ns
            os.fdatasync(self._file.fileno())

    def close(self) -> None:
        """Write the summary and wait for the disk."""
        if self._file.closed:
            return
        try:
            self.flush(self.last_ns)
            self._writer.finish()
            self._file.flush()
            os.fdatasync(self._file.fileno())
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Close the file as it stands, without a summary."""
        with contextlib.suppress(OSError):
            self._file.close()

    def _cut(self, whole: int) -> None:
        """Drop half a chunk, which the disk had no room for."""
        try:
            os.ftruncate(self._file.fileno(), whole)
        finally:
            self.abandon()

    def _channel(self, topic: str, kind: str) -> int:
        found = self._channels.get(topic)
        if found is None:
            if kind not in self._schemas:
                name, text = (
                    ("foxglove.CompressedImage", json.dumps(PICTURE_SCHEMA).encode())
                    if kind == "frames"
                    else (f"dfer.{kind}-1", schema_path(kind).read_bytes())
                )
                self._schemas[kind] = self._writer.register_schema(name, "jsonschema", text)
            found = self._writer.register_channel(topic, "json", self._schemas[kind])
            self._channels[topic] = found
        return found


def _picture(jpeg: bytes, source: str, log_ns: int) -> bytes:
    sec, nsec = divmod(log_ns, 1_000_000_000)
    held = {"timestamp": {"sec": sec, "nsec": nsec}, "frame_id": source, "data": base64.b64encode(jpeg).decode()}
    return json.dumps({**held, "format": "jpeg"}).encode()
