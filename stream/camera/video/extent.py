"""Whether a file's end is there: containers say where their parts end, and a part that ends behind the file is cut.

No count of frames is believed, only lengths of parts that hold them. Formats without lengths (raw streams) say nothing.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable
from pathlib import Path

_UNKNOWN = 0
_ASF_FILE = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
_TS_SIZES = (188, 192, 204)


def missing_bytes(path: Path) -> int:
    """How many bytes are missing at a file's end, at least; 0 where its structure is whole or says nothing."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            end = _extent(data, size)
    except (OSError, ValueError):
        return 0
    return max(0, end - size)


def _extent(data: mmap.mmap, size: int) -> int:
    """Where the last part of a file says that it ends; 0 where none says so."""
    head = data[:64]
    for starts, extent in _WALKS:
        if starts(head):
            return extent(data, size)
    return _transport_stream(data, size)


def _boxes(data: mmap.mmap, size: int) -> int:
    """ISO base media (MP4, MOV, 3GP, HEIF): boxes one after the other (ISO/IEC 14496-12, 4.2)."""
    at = 0
    while at + 8 <= size:
        length, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        if not all(32 <= c < 127 or c == 0xA9 for c in kind):
            return at
        if length == 1:
            length = int.from_bytes(data[at + 8 : at + 16], "big")
        if length == 0:
            return size
        if length < 8:
            return at
        at += length
    return at if at >= size else at + 8


def _ebml(data: mmap.mmap, size: int) -> int:
    """Matroska and WebM: the segment's length, or where it states none its clusters' (RFC 8794)."""
    at = 0
    while at < size:
        element, after_id = _vint(data, at, keep_mark=True)
        length, body = _vint(data, after_id)
        if body == 0:
            return size + 1 if size - at < 12 else _UNKNOWN
        unstated = length == (1 << 7 * (body - after_id)) - 1
        if element in (0x18538067, 0x1F43B675) and unstated:
            at = body
            continue
        if unstated or element not in _EBML_TOP:
            return at
        at = body + length
    return at


_EBML_TOP = (
    0x1A45DFA3, 0x18538067, 0x1F43B675, 0x114D9B74, 0x1549A966, 0x1654AE6B, 0x1C53BB6B, 0x1254C367, 0x1043A770,
    0x1941A469, 0xEC, 0xBF, 0xE7, 0xA3, 0xA0, 0xAB, 0xA7,
)  # fmt: skip


def _vint(data: mmap.mmap, at: int, keep_mark: bool = False) -> tuple[int, int]:
    """A variable-length number and where it ends; ends at 0 where it is cut or none."""
    if at >= len(data) or data[at] == 0:
        return 0, 0
    length = 9 - data[at].bit_length()
    raw = data[at : at + length]
    if len(raw) < length:
        return 0, 0
    value = int.from_bytes(raw, "big")
    return (value if keep_mark else value & ((1 << 7 * length) - 1)), at + length


def _riff(data: mmap.mmap, size: int) -> int:
    """AVI and WebP: one RIFF list, or several (OpenDML)."""
    at = 0
    while at + 8 <= size and data[at : at + 4] == b"RIFF":
        length = int.from_bytes(data[at + 4 : at + 8], "little")
        if length in (0, 0xFFFFFFFF):
            return _UNKNOWN
        at += 8 + length
        at += at % 2 if at < size else 0
    return at


def _png(data: mmap.mmap, size: int) -> int:
    """PNG and APNG: chunks up to the one that ends it."""
    at = 8
    while at + 12 <= size:
        kind = data[at + 4 : at + 8]
        at += 12 + int.from_bytes(data[at : at + 4], "big")
        if kind == b"IEND":
            return at
    return max(at, size + 1)


def _gif(data: mmap.mmap, size: int) -> int:
    """GIF: blocks up to the trailer (GIF89a, appendix A)."""
    if size < 14:
        return size + 1
    at = 13 + (3 << (data[10] & 7) + 1 if data[10] & 0x80 else 0)
    while at < size:
        kind = data[at]
        if kind == 0x3B:
            return at + 1
        if kind == 0x21:
            at += 2
        elif kind == 0x2C:
            if at + 10 > size:
                break
            flags = data[at + 9]
            at += 11 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
        else:
            return _UNKNOWN
        while at < size and data[at]:
            at += 1 + data[at]
        at += 1
    return max(at, size) + 1


def _flv(data: mmap.mmap, size: int) -> int:
    """FLV: tags, each with its length before and after it."""
    at = int.from_bytes(data[5:9], "big") + 4
    while at + 11 <= size:
        at += 15 + int.from_bytes(data[at + 1 : at + 4], "big")
    return at if at >= size else at + 11


def _ogg(data: mmap.mmap, size: int) -> int:
    """Ogg: the last page (RFC 3533, 6)."""
    at = data.rfind(b"OggS")
    if at + 27 > size:
        return size + 1
    segments = data[at + 26]
    lacing = data[at + 27 : at + 27 + segments]
    return at + 27 + segments + sum(lacing)


def _asf(data: mmap.mmap, _size: int) -> int:
    """WMV: the length of the file as its header states it, unless it was a broadcast (ASF, 3.2)."""
    at = data.find(_ASF_FILE, 0, 1 << 16)
    if at < 0 or data[at + 88] & 1:
        return _UNKNOWN
    return int.from_bytes(data[at + 40 : at + 48], "little")


def _mxf(data: mmap.mmap, size: int) -> int:
    """MXF: keys with lengths, one after the other (SMPTE ST 336)."""
    at = 0
    while at + 17 <= size:
        if data[at : at + 4] != b"\x06\x0e\x2b\x34":
            return at
        first = data[at + 16]
        more = first & 0x7F if first & 0x80 else 0
        length = int.from_bytes(data[at + 17 : at + 17 + more], "big") if more else first
        at += 17 + more + length
    return at if at >= size else at + 17


def _ivf(data: mmap.mmap, size: int) -> int:
    """IVF: frames with their lengths."""
    at = 32
    while at + 12 <= size:
        at += 12 + int.from_bytes(data[at : at + 4], "little")
    return at if at >= size else at + 12


def _dv(data: mmap.mmap, size: int) -> int:
    """DV: frames of one length, by the system's line number (IEC 61834)."""
    frame = 144000 if data[3] & 0x80 else 120000
    return -(-size // frame) * frame


def _program_stream(data: mmap.mmap, size: int) -> int:
    """MPEG-PS: the last packet that states its length (ISO/IEC 13818-1, 2.4.3)."""
    at = size
    while (at := data.rfind(b"\0\0\1", max(0, size - (1 << 18)), at)) >= 0:
        if at + 6 <= size and 0xBC <= data[at + 3] <= 0xEF:
            length = int.from_bytes(data[at + 4 : at + 6], "big")
            return at + 6 + length if length else _UNKNOWN
    return _UNKNOWN


def _transport_stream(data: mmap.mmap, size: int) -> int:
    """MPEG-TS: packets of one length, 188 bytes or with a clock or a check added."""
    for length in _TS_SIZES:
        first = data.find(b"\x47", 0, length)
        while 0 <= first < length:
            if all(data[at] == 0x47 for at in range(first, min(size, first + 8 * length), length)):
                # With a clock before each packet (BDAV) the file begins four bytes before the first mark.
                start = first - 4 if length == 192 and first >= 4 else first
                return start + -(-(size - start) // length) * length
            first = data.find(b"\x47", first + 1, length)
    return _UNKNOWN


_BMFF = (b"ftyp", b"moov", b"mdat", b"free", b"wide", b"skip", b"pnot", b"moof", b"styp")
_WALKS: tuple[tuple[Callable[[bytes], bool], Callable[[mmap.mmap, int], int]], ...] = (
    (lambda head: head[4:8] in _BMFF, _boxes),
    (lambda head: head.startswith(b"\x1a\x45\xdf\xa3"), _ebml),
    (lambda head: head.startswith(b"RIFF"), _riff),
    (lambda head: head.startswith(b"\x89PNG"), _png),
    (lambda head: head.startswith(b"GIF8"), _gif),
    (lambda head: head.startswith(b"FLV"), _flv),
    (lambda head: head.startswith(b"OggS"), _ogg),
    (lambda head: head.startswith(b"\x30\x26\xb2\x75"), _asf),
    (lambda head: head.startswith(b"\x06\x0e\x2b\x34"), _mxf),
    (lambda head: head.startswith(b"DKIF"), _ivf),
    (lambda head: head.startswith(b"\x1f\x07\x00"), _dv),
    (lambda head: head.startswith(b"\0\0\1\xba"), _program_stream),
)
