"""What a file is, by its first bytes and never by its name. Imports no decoder: the parent sorts folders with it."""

from __future__ import annotations

import re
from pathlib import Path

HEAD_BYTES = 4096
"""What :func:`kind_of` wants to see of a file."""

VIDEO, IMAGE, ARCHIVE, SOUND, OTHER = "video", "image", "archive", "sound", "other"

VIDEO_SUFFIXES = (
    ".mp4", ".m4v", ".mov", ".qt", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".vob", ".gif", ".wmv", ".asf", ".flv",
    ".ts", ".mts", ".m2ts", ".mxf", ".3gp", ".ogv", ".dv", ".mjpeg", ".mjpg", ".h264", ".264", ".h265", ".265", ".hevc",
)  # fmt: skip
"""Names that promise a video: a file that breaks the promise is an error, where any other file is only left out."""

IMAGE_SUFFIXES = (
    ".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".avif", ".heic", ".heif",
)  # fmt: skip
"""Names that promise an image, likewise."""

_MOTION_JPEG = (".mjpeg", ".mjpg")

_STILL_BRANDS = (b"avif", b"heic", b"heix", b"heim", b"heis", b"mif1")
_MOVING_BRANDS = (b"avis", b"hevc", b"hevx", b"msf1")
_SOUND_BRANDS = (b"M4A ", b"M4B ", b"F4A ")
_RAW_VIDEO = re.compile(
    rb"\x00{2,8}\x01(?:[\x67\x27\x09\x47\x07]|[\x40\x42\x44\x46]\x01|\xb3|\xba|\xb0|\x0f)", re.DOTALL
)
"""Start codes of H.264, HEVC, MPEG-1, MPEG-2, MPEG-4 and VC-1 streams, and of MPEG program streams."""


def sniff(path: Path) -> str:
    """What a file is: :data:`VIDEO`, :data:`IMAGE` (one still), :data:`ARCHIVE`, :data:`SOUND` or :data:`OTHER`.

    Raises:
        OSError: If it cannot be read.
    """
    with path.open("rb") as file:
        return kind_of(file.read(HEAD_BYTES))


def used_as(path: Path) -> str:
    """What a file is used as: what :func:`sniff` says, or what its name promises where its content says nothing.

    Raises:
        OSError: If it cannot be read.
    """
    kind, suffix = sniff(path), path.suffix.lower()
    if suffix == ".zip":
        return ARCHIVE
    if kind == ARCHIVE:
        # Documents of offices and of Java are archives too: there the name decides.
        return OTHER if suffix else ARCHIVE
    if kind == IMAGE:
        # JPEGs one after the other begin like one JPEG: only the name tells.
        return VIDEO if suffix in _MOTION_JPEG else IMAGE
    if kind == OTHER:
        return VIDEO if suffix in VIDEO_SUFFIXES else IMAGE if suffix in IMAGE_SUFFIXES else OTHER
    return kind


def kind_of(head: bytes) -> str:
    """What a file that begins like this is, see :func:`sniff`."""
    for find in (_picture, _container, _stream):
        if (kind := find(head)) is not None:
            return kind
    return OTHER


def is_animated_webp(head: bytes) -> bool:
    """Whether a file that begins like this is a WebP of several pictures (its header's flag, RFC 9649, 2.7.1)."""
    return head[:4] == b"RIFF" and head[8:16] == b"WEBPVP8X" and len(head) > 20 and bool(head[20] & 2)


def _picture(head: bytes) -> str | None:
    if head.startswith(b"\xff\xd8\xff"):
        # Motion JPEG has its second picture later; a file of one is a still.
        return IMAGE
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return VIDEO if b"acTL" in head else IMAGE
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return VIDEO if is_animated_webp(head) else IMAGE
    if head[:4] == b"GIF8":
        return VIDEO
    if head[:4] in (b"II*\0", b"MM\0*") or re.match(rb"P[1-7][\s#]", head):
        return IMAGE
    if head[:2] == b"BM" and len(head) > 18 and int.from_bytes(head[14:18], "little") in (12, 40, 52, 56, 108, 124):
        return IMAGE
    return None


def _container(head: bytes) -> str | None:
    if head[4:8] == b"ftyp":
        brand = head[8:12]
        if brand in _STILL_BRANDS and not any(moving in head[8:64] for moving in _MOVING_BRANDS):
            return IMAGE
        return SOUND if brand in _SOUND_BRANDS else VIDEO
    if head[4:8] in (b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot", b"moof", b"styp"):
        return VIDEO
    if head[:4] == b"\x1a\x45\xdf\xa3":
        return VIDEO
    if head[:4] == b"RIFF":
        return {b"AVI ": VIDEO, b"WAVE": SOUND}.get(head[8:12], OTHER)
    if (
        head[:4] in (b"FLV\1", b"\x30\x26\xb2\x75", b"\x06\x0e\x2b\x34", b"DKIF", b".RMF", b"YUV4")
        or head[:3] == b"nut"
    ):
        return VIDEO
    if head[:4] == b"OggS":
        return VIDEO if re.search(rb"\x80theora|BBCD|fishead|OVP80", head) else SOUND
    if head[:4] in (b"PK\3\4", b"PK\5\6"):
        return ARCHIVE
    return None


def _stream(head: bytes) -> str | None:
    if head[:3] == b"\x1f\x07\x00":
        return VIDEO
    for size, first in ((188, 0), (192, 4), (204, 0)):
        marks = range(first, len(head), size)
        if len(marks) > 4 and all(head[at] == 0x47 for at in marks):
            return VIDEO
    if _RAW_VIDEO.match(head):
        return VIDEO
    if head[:3] == b"ID3" or (len(head) > 2 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0) or head[:4] == b"fLaC":
        return SOUND
    return None
