"""Between messages and bytes. No ZeroMQ here, so that a subscriber can use it with any socket.

A message on the wire is one frame, ``b"faces/<source> " + body``: the space ends the topic, so ``cam1`` does not match
``cam10``. The body is JSON. Readers ignore keys they do not know and take defaults for keys an older publisher does not
send; a body of another major version is refused.

NaN and infinity never reach the wire. Score maps that are not finite become null through
:func:`stream.publish.message.scores`; a non-finite number anywhere else is refused by :func:`encode`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from stream.publish.driver import DRIVER_SCHEMA, DriverState
from stream.publish.message import (
    EVENT_SCHEMA,
    FACES_SCHEMA,
    STATUS_SCHEMA,
    Event,
    Faces,
    Message,
    MessageError,
    Status,
)
from stream.publish.rules import check

_M = TypeVar("_M", Faces, Status, Event, DriverState)
_VERSION = re.compile(r"(?P<name>[a-z.]+)/(?P<major>\d{1,9})\.(?P<minor>\d{1,9})")
UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What msgspec raises of a body that anybody may have written: no JSON, no UTF-8, nested too deep."""


class _Head(msgspec.Struct):
    schema: str


_encoder = msgspec.json.Encoder()
_head_decoder = msgspec.json.Decoder(_Head)
_decoders: dict[str, tuple[str, msgspec.json.Decoder[Any]]] = {
    "faces": (FACES_SCHEMA, msgspec.json.Decoder(Faces)),
    "status": (STATUS_SCHEMA, msgspec.json.Decoder(Status)),
    "event": (EVENT_SCHEMA, msgspec.json.Decoder(Event)),
    "driver": (DRIVER_SCHEMA, msgspec.json.Decoder(DriverState)),
}
_kinds: dict[type, str] = {Faces: "faces", Status: "status", Event: "event", DriverState: "driver"}


@dataclass(frozen=True)
class RawMessage:
    """One frame of the wire, taken apart.

    Attributes:
        kind: ``"faces"``, ``"status"``, ``"event"`` or ``"driver"``.
        source: The source's name.
        body: JSON, not yet read.
    """

    kind: str
    source: str
    body: bytes


@dataclass(frozen=True)
class Picture:
    """What travels on ``frames/<source>``.

    Attributes:
        frame_id: Of the ``faces`` message that it belongs to.
        jpeg: A JPEG file; its width may be smaller than the frame's.
    """

    frame_id: int
    jpeg: bytes


def boot_id() -> str:
    """This boot's id, which says whether two CLOCK_MONOTONIC times compare; empty where the system has none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def topic(kind: str, source: str) -> bytes:
    """The topic with the space that ends it, for example ``b"faces/cam0 "``: what a subscriber subscribes to."""
    return f"{kind}/{source} ".encode()


def schema_path(kind: str) -> Path:
    """Where the JSON Schema of ``"faces"``, ``"status"``, ``"event"`` or ``"driver"`` lies."""
    return Path(__file__).parent / "schema" / f"dfer.{kind}-1.json"


def encode_picture(jpeg: bytes, frame_id: int) -> bytes:
    """A picture's body: the JPEG file, with the number of its frame as a comment right behind its first marker.

    Args:
        jpeg: A JPEG file.
        frame_id: Of the ``faces`` message that it belongs to.
    """
    comment = b"%d" % frame_id
    return jpeg[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + jpeg[2:]


def decode_picture(body: bytes) -> Picture:
    """Read a picture's body.

    Raises:
        MessageError: If it is no JPEG file, or does not say which frame it is.
    """
    length = int.from_bytes(body[4:6], "big")
    comment = body[6 : 4 + length]
    if body[:4] != b"\xff\xd8\xff\xfe" or not comment.isdigit() or len(comment) > 20:
        raise MessageError(f"not a picture: it begins {body[:16]!r}", "expected a JPEG that names its frame")
    return Picture(int(comment), body)


def encode(message: Message) -> bytes:
    """The message's body: one line of JSON.

    Raises:
        MessageError: If a number is not finite or a state or reason is not one of the schema's.
    """
    check(message)
    return _encoder.encode(message)


def split(data: bytes) -> RawMessage:
    """Take a frame apart.

    Raises:
        MessageError: If it has no topic of ours.
    """
    head, space, body = data.partition(b" ")
    kind, slash, source = head.decode("utf-8", "replace").partition("/")
    if not space or not slash or kind not in _decoders:
        raise MessageError(f"not a dferstream message: it begins {data[:40]!r}", "expected b'faces/<source> {...'")
    return RawMessage(kind, source, body)


def decode(body: bytes | str, cls: type[_M]) -> _M:
    """Read a body of a known kind; keys it does not know are ignored.

    Raises:
        MessageError: If it is not JSON, lacks a field, or is of another major version.
    """
    kind = _kinds[cls]
    ours, decoder = _decoders[kind]
    try:
        _check_version(_head_decoder.decode(body).schema, ours)
        message: _M = decoder.decode(body)
    except UNREADABLE as error:
        raise MessageError(f"not a {kind} message: {error}") from error
    return message


def decode_frame(data: bytes) -> Message:
    """Read a whole frame, topic included.

    Raises:
        MessageError: As :func:`split` and :func:`decode`.
    """
    raw = split(data)
    if raw.kind == "faces":
        return decode(raw.body, Faces)
    if raw.kind == "status":
        return decode(raw.body, Status)
    return decode(raw.body, Event) if raw.kind == "event" else decode(raw.body, DriverState)


def _check_version(found: str, ours: str) -> None:
    theirs, mine = _VERSION.fullmatch(found), _VERSION.fullmatch(ours)
    assert mine is not None
    if theirs is None or theirs["name"] != mine["name"]:
        raise MessageError(f"schema is {found!r}, expected {mine['name']}/{mine['major']}.x")
    if theirs["major"] != mine["major"]:
        side = "this reader" if int(theirs["major"]) > int(mine["major"]) else "the publisher"
        raise MessageError(f"schema {found} is of another major version than {ours}: update {side}")
