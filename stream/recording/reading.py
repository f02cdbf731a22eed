"""What a recording holds, up to its last whole chunk, wherever it was cut.

The file may come from anywhere: every length is checked before anything is read or unpacked, every chunk's checksum
before any of its messages is believed. Messages outside of chunks have no checksum and are not taken. Our own
recordings number their messages and count them at the end, so a chunk that is gone is noticed too.
"""

from __future__ import annotations

import base64
import json
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

from engine.files import open_file
from stream.recording.mcap_file import KINDS, MOST_TOPICS, RecordingError, library

MOST_BYTES = 64 << 20
"""Largest record, and largest chunk when unpacked."""
_MAGIC = b"\x89MCAP0\r\n"
_HEAD = struct.Struct("<BQ")
_HEADER, _FOOTER, _CHANNEL, _MESSAGE, _CHUNK, _STATISTICS = 0x01, 0x02, 0x04, 0x05, 0x06, 0x0B
_FOOTER_BYTES = 20


@dataclass(frozen=True)
class Recorded:
    """One message of a recording.

    Attributes:
        topic: ``kind/source``.
        log_ns: Wall time at which it was recorded, ns.
        body: As it came over the wire.
    """

    topic: str
    log_ns: int
    body: bytes

    @property
    def kind(self) -> str:
        """``faces``, ``status``, ``event``, ``driver`` or ``frames``."""
        return self.topic.partition("/")[0]

    @property
    def source(self) -> str:
        """The source's name."""
        return self.topic.partition("/")[2]

    @property
    def frame(self) -> bytes:
        """The message as it was on the wire, topic included."""
        return f"{self.topic} ".encode() + self.body


class _BadRecordError(Exception):
    """The text says what is wrong with a record."""


class McapReader:
    """The messages of a recording in the order they were written; iterate once.

    Args:
        path: The file.

    Attributes:
        cut: After the last message: what ended the recording early, None for one that is whole.
        chunks: Whole chunks read so far.

    Raises:
        RecordingError: If the extra is missing, or the file cannot be opened or is no MCAP file.
    """

    def __init__(self, path: Path) -> None:
        self._records: Any = library("mcap.records")
        self._streams: Any = library("mcap.data_stream")
        self.path = path
        self.cut: str | None = None
        self.chunks = 0
        self._topics: dict[int, str] = {}
        self._ours = False
        self._next = 0
        try:
            self._file: BinaryIO = open_file(path)
        except OSError as error:
            raise RecordingError(f"cannot read {path}: {error.strerror or error}", "give a recording") from error
        magic = self._file.read(len(_MAGIC))
        # A recorder that was killed at once leaves less than that.
        if not _MAGIC.startswith(magic):
            self._file.close()
            raise RecordingError(f"{path} is no MCAP file", "give a file that dfer-stream record made")

    def __iter__(self) -> Iterator[Recorded]:
        with self._file as file:
            whole, at = False, len(_MAGIC)
            try:
                while not whole:
                    at = file.tell()
                    opcode, content = _next_record(file)
                    if opcode == _HEADER and not self.chunks:
                        header = self._read(self._records.Header, content)
                        self._ours = header.library.startswith("dferstream ")
                    elif opcode == _CHUNK:
                        yield from self._chunk(content)
                        self.chunks += 1
                    elif opcode == _MESSAGE:
                        raise _BadRecordError("a message outside of any chunk, which has no checksum,")
                    elif opcode == _STATISTICS and self._ours:
                        counted = self._read(self._records.Statistics, content).message_count
                        if counted != self._next:
                            raise _BadRecordError(f"{counted} messages were written, {self._next} are there,")
                    whole = opcode == _FOOTER and len(content) == _FOOTER_BYTES
            except _BadRecordError as error:
                self.cut = f"{self.path}: {error} at byte {at}; what {self.chunks} whole chunks hold was read"

    def _chunk(self, content: bytes) -> list[Recorded]:
        """The messages of a chunk, all of them or none."""
        return [message for opcode, part in self._unpacked(content) for message in self._messages(opcode, part)]

    def _unpacked(self, content: bytes) -> list[tuple[int, bytes]]:
        """The records of a chunk."""
        chunk = self._read(self._records.Chunk, content)
        if chunk.uncompressed_size > MOST_BYTES:
            raise _BadRecordError(f"a chunk of {chunk.uncompressed_size} bytes, more than {MOST_BYTES},")
        data = _decompress(chunk.compression, chunk.data, chunk.uncompressed_size)
        if len(data) != chunk.uncompressed_size or zlib.crc32(data) != chunk.uncompressed_crc:
            raise _BadRecordError("a damaged chunk")
        stream, found = BytesIO(data), []
        while stream.tell() < len(data):
            found.append(_next_record(stream))
        return found

    def _messages(self, opcode: int, content: bytes) -> Iterator[Recorded]:
        if opcode == _CHANNEL:
            channel = self._read(self._records.Channel, content)
            kind, slash, source = channel.topic.partition("/")
            if kind in KINDS and slash and source and channel.message_encoding == "json":
                if len(self._topics) >= MOST_TOPICS:
                    raise _BadRecordError(f"more than {MOST_TOPICS} topics")
                self._topics[channel.id] = channel.topic
        elif opcode == _MESSAGE and len(content) >= 22:
            channel_id, number, log_ns, _ = struct.unpack_from("<HIQQ", content)
            if self._ours and number != self._next:
                raise _BadRecordError("a chunk is missing")
            self._next = number + 1
            topic = self._topics.get(channel_id)
            # Others' topics are none of ours.
            if topic is not None:
                body = content[22:]
                yield Recorded(topic, log_ns, _jpeg(body) if topic.startswith("frames/") else body)

    def _read(self, kind: Any, content: bytes) -> Any:
        try:
            return kind.read(self._streams.ReadDataStream(BytesIO(content)))
        except Exception as error:  # whatever a library makes of bytes that anybody may have written
            raise _BadRecordError(f"a damaged record ({type(error).__name__})") from error


def _next_record(file: BinaryIO | BytesIO) -> tuple[int, bytes]:
    head = file.read(_HEAD.size)
    if len(head) < _HEAD.size:
        raise _BadRecordError("the file ends without a summary" if not head else "the file ends in a record")
    opcode, length = _HEAD.unpack(head)
    if length > MOST_BYTES:
        raise _BadRecordError(f"a record of {length} bytes, more than {MOST_BYTES},")
    content = file.read(length)
    if len(content) < length:
        raise _BadRecordError("the file ends in a record")
    return opcode, content


def _decompress(how: str, data: bytes, size: int) -> bytes:
    """At most `size` bytes, whatever the data claims."""
    try:
        if how == "zstd":
            reader = library("zstandard").ZstdDecompressor().stream_reader(BytesIO(data))
            return bytes(reader.read(size + 1)) if size else b""
        if how == "lz4":
            return bytes(library("lz4.frame").LZ4FrameDecompressor().decompress(data, max_length=size + 1))
    except RecordingError:
        raise
    except Exception as error:
        raise _BadRecordError(f"a damaged chunk ({type(error).__name__})") from error
    if how:
        raise _BadRecordError(f"a chunk compressed by {how[:20]!r}")
    return data


def _jpeg(body: bytes) -> bytes:
    try:
        return base64.b64decode(json.loads(body)["data"], validate=True)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _BadRecordError("a picture that is none") from error
