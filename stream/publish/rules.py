"""What the schema asks of a message beyond its types: known states, reasons that fit, finite numbers."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

import msgspec

from stream.publish.driver import FINDINGS, LEVELS, DriverState
from stream.publish.driver import REASONS as DRIVER_REASONS
from stream.publish.driver import STATES as DRIVER_STATES
from stream.publish.message import (
    CAPTURE_CLOCKS,
    DEGRADED,
    EVENTS,
    FACE_REASONS,
    FACE_STATES,
    REASONS,
    Face,
    Faces,
    Message,
    MessageError,
    Status,
)

_SOURCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


def check_source(name: str) -> str:
    """Return `name` if it can be a source's name: letters, digits, ``_ . -``, at most 64, no space or slash.

    Raises:
        MessageError: If it cannot.
    """
    if not _SOURCE.fullmatch(name):
        raise MessageError(
            f"source name {name!r} must be 1 to 64 letters, digits, '_', '.' or '-', starting with a letter or digit"
        )
    return name


def check(message: Message) -> None:
    """Refuse a message that contradicts itself.

    Raises:
        MessageError: Naming the field.
    """
    if isinstance(message, Faces):
        _check_faces(message)
    elif isinstance(message, Status):
        _check_status(message)
    elif isinstance(message, DriverState):
        _check_driver(message)
    else:
        if message.event not in EVENTS:
            raise MessageError(f"event must be one of {EVENTS}, not {message.event!r}")
        _finite("delay_ms", (message.delay_ms,))


def _check_driver(message: DriverState) -> None:
    if message.state not in DRIVER_STATES or message.reason not in DRIVER_REASONS:
        raise MessageError(f"state {message.state!r} or reason {message.reason!r} is not the schema's")
    levels = {each.level for each in message.findings.values()}
    if set(message.findings) != set(FINDINGS) or levels - set(LEVELS):
        raise MessageError(f"findings must be {FINDINGS}, each of {LEVELS}")
    if message.state == "fine" and not (message.valid and message.reason == "ok" and message.face is not None):
        raise MessageError("a driver is fine only with valid input, reason ok and a face")


def _check_faces(message: Faces) -> None:
    if message.reason not in REASONS or message.valid != (message.reason == "ok"):
        raise MessageError(f"reason must be 'ok' where valid, else one of {REASONS[1:]}; not {message.reason!r}")
    if message.t_capture_src is not None and message.t_capture_src not in CAPTURE_CLOCKS:
        raise MessageError(f"t_capture_src must be one of {CAPTURE_CLOCKS}, not {message.t_capture_src!r}")
    if not set(message.degraded).issubset(DEGRADED):
        raise MessageError(f"degraded may list {DEGRADED}, not {message.degraded}")
    late = message.latency_ms
    _finite("latency_ms", (late.capture, late.detect, late.infer, late.total))
    _finite("rate_hz", (message.rate_hz,))
    for face in message.faces:
        _check_face(face)


def _check_face(face: Face) -> None:
    where = f"faces[{face.id}]"
    if face.state not in FACE_STATES:
        raise MessageError(f"{where}.state must be one of {FACE_STATES}, not {face.state!r}")
    if face.reason not in FACE_REASONS or face.ready != (face.reason == "ok"):
        raise MessageError(
            f"{where}.reason must be 'ok' where ready, else one of {FACE_REASONS[1:]}; not {face.reason!r}"
        )
    if face.label is not None and not face.ready:
        raise MessageError(f"{where} has a label before it is ready")
    _finite(f"{where}.box", face.box)
    _finite(where, (face.score, face.confidence, face.score_age_ms, face.window.span_ms))
    look = face.quality
    _finite(f"{where}.quality", msgspec.structs.astuple(look))
    _shares(where, (face.mouth_open, *((face.eyes.left, face.eyes.right) if face.eyes is not None else ())))
    if face.head is not None:
        _finite(f"{where}.head", (face.head.yaw, face.head.pitch, face.head.roll))
    if face.onset_ns is not None and face.label is None:
        raise MessageError(f"{where} has an onset and no label")
    for name in ("logits", "probs", "smoothed", "now", "neutral_shift"):
        values: dict[str, float] | None = getattr(face, name)
        if values is not None:
            _finite(f"{where}.{name}", values.values())
    if face.relevance is not None:
        _finite(f"{where}.relevance", face.relevance)


def _check_status(message: Status) -> None:
    if message.state not in ("ok", "degraded", "starting") or message.camera not in REASONS:
        raise MessageError(f"state {message.state!r} or camera {message.camera!r} is not the schema's")
    _finite("rates", (message.uptime_s, message.rate_hz, message.declared_hz, message.rate_in_hz, message.rate_out_hz))
    _finite("memory_mb", (message.memory_mb,))
    for name, stage in message.latency_ms.items():
        _finite(f"latency_ms.{name}", (stage.p50, stage.p99))
    _finite("temperature_c", (message.temperature_c or {}).values())


def _shares(where: str, values: Iterable[float | None]) -> None:
    if not all(0 <= value <= 1 for value in values if value is not None):
        raise MessageError(f"{where}.eyes and .mouth_open lie between 0 and 1")


def _finite(where: str, values: Iterable[float | None]) -> None:
    # A sum is finite only if every term is; a sum of finite numbers overflows only beyond 1e308.
    if not math.isfinite(sum(value for value in values if value is not None)):
        raise MessageError(f"{where} holds a number that is not finite")
