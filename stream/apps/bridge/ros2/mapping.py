"""From our messages to what ROS says, with no ROS in it.

REP-155 (https://www.ros.org/reps/rep-0155.html): ``/humans/faces/tracked`` lists the ids of the faces that are seen,
and below ``/humans/faces/<id>/`` each has topics of its own. Messages are those of ``hri_msgs`` 2.0.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from stream.publish.message import Face, Faces, Status

EXPRESSIONS = {
    "neutral": "NEUTRAL",
    "anger": "ANGRY",
    "sadness": "SAD",
    "happiness": "HAPPY",
    "surprise": "SURPRISED",
    "disgust": "DISGUSTED",
    "fear": "SCARED",
    "disappointment": "DISAPPOINTED",
}
"""Class to the name of a constant of ``hri_msgs/Expression``.

Contempt, anxiety and helplessness have none: they are left empty, as unsure is, rather than given a neighbour's name.
"""

LINGER_NS = 1_000_000_000
"""How long a lost face's topics stay, in case it comes back under its id; its id leaves the list at once."""


@dataclass(frozen=True)
class Region:
    """``hri_msgs/NormalizedRegionOfInterest2D``: shares of the frame, 0 to 1, and the detector's score."""

    xmin: float
    ymin: float
    xmax: float
    ymax: float
    c: float


@dataclass(frozen=True)
class ExpressionOf:
    """``hri_msgs/Expression``.

    Attributes:
        constant: Name of the message's constant; empty where unsure, or where it has none for the class.
        confidence: Of that class, 0 to 1; 0 without one.
    """

    constant: str
    confidence: float


@dataclass(frozen=True)
class FaceTopics:
    """What is published below one face's id; None is not published.

    Attributes:
        id: The face's id in ROS.
        region: Where it is; None without a frame size.
        expression: None before its window is ready.
    """

    id: str
    region: Region | None
    expression: ExpressionOf | None


@dataclass(frozen=True)
class Humans:
    """What one ``faces`` message becomes.

    Attributes:
        faces: Those seen, in the message's order.
        gone: Ids whose topics are to be taken down.
    """

    faces: list[FaceTopics] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)


class Humans155:
    """Follows which faces there are, over restarts of the daemon too."""

    def __init__(self) -> None:
        self._seen_ns: dict[str, int] = {}

    def step(self, message: Faces | None, now_ns: int) -> Humans:
        """Turn a message; None where the source has fallen silent.

        Args:
            message: In order.
            now_ns: CLOCK_MONOTONIC.
        """
        faces = []
        if message is not None and message.valid:
            faces = [_topics(face, message) for face in message.faces if face.state != "lost"]
        for face in faces:
            self._seen_ns[face.id] = now_ns
        here = {face.id for face in faces}
        gone = [name for name, seen in self._seen_ns.items() if name not in here and now_ns - seen >= LINGER_NS]
        for name in gone:
            del self._seen_ns[name]
        return Humans(faces, gone)


def ros_id(face: str, session: str) -> str:
    """A face's id as a token of a topic: letters, digits and ``_``, and no digit first; another one in each session."""
    token = re.sub(r"[^A-Za-z0-9_]", "_", face)
    return f"{token if token[:1].isalpha() else f'f{token}'}_{re.sub(r'[^A-Za-z0-9]', '', session)[:6]}"


def expression_of(face: Face) -> ExpressionOf | None:
    """What is said of a face's expression; None before there is something to say."""
    if not face.ready:
        return None
    constant = EXPRESSIONS.get(face.label or "", "")
    return ExpressionOf(constant, float(face.confidence or 0.0) if constant else 0.0)


def diagnostics(status: Status) -> tuple[str, str, list[tuple[str, str]]]:
    """``diagnostic_msgs/DiagnosticStatus``: level (OK, WARN, ERROR), message, and values as text."""
    if status.camera not in ("ok", "ended") and status.state != "starting":
        level, said = "ERROR", f"camera {status.camera}" + (f": {status.note}" if status.note else "")
    elif status.state != "ok" or status.degraded or status.stale:
        level, said = "WARN", ", ".join((status.state, *status.degraded, *(f"{name} hangs" for name in status.stale)))
    else:
        level, said = "OK", "ok"
    values: list[tuple[str, object]] = [
        ("camera", status.camera), ("rate in (Hz)", status.rate_in_hz), ("rate out (Hz)", status.rate_out_hz),
        ("declared rate (Hz)", status.declared_hz), ("frames", status.frames_total),
        ("dropped", status.dropped_total), ("reconnects", status.reconnects_total),
        ("backend faults", status.backend_faults_total), ("memory (MB)", status.memory_mb),
        ("version", status.version), ("model", status.model.name if status.model else None),
        *((f"{stage} p99 (ms)", late.p99) for stage, late in status.latency_ms.items()),
    ]  # fmt: skip
    return level, said, _texts(values)


def _texts(values: Iterable[tuple[str, object]]) -> list[tuple[str, str]]:
    shown = ((key, f"{value:g}" if isinstance(value, float) else value) for key, value in values)
    return [(key, str(value)) for key, value in shown if value is not None]


def _topics(face: Face, message: Faces) -> FaceTopics:
    region = None
    if message.width and message.height:
        x, y, width, height = face.box
        region = Region(
            _share(x / message.width),
            _share(y / message.height),
            _share((x + width) / message.width),
            _share((y + height) / message.height),
            _share(face.score),
        )
    return FaceTopics(ros_id(face.id, message.session), region, expression_of(face))


def _share(value: float) -> float:
    return min(max(float(value), 0.0), 1.0) if math.isfinite(value) else 0.0
