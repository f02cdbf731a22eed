"""Reaction events: an expression begins and ends, somebody looks at the camera and away, shuts the eyes and opens them.

Every beginning has its end: a face that is lost, or a camera, ends what had begun. Times are capture times; a label
speaks for a window of two seconds, and its own onset (``Face.onset_ns``), where it has one, is the event's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from stream.publish.message import EXPRESSION_EVENTS, Face, Faces
from stream.reactions.debounce import Change, Debounced

EXPRESSION_S = (0.15, 0.5)
"""A label held for the one begins an expression, gone for the other ends it. Our choice."""
ATTENTION_S = (0.3, 1.0)
"""A head turned to the camera for the one attends, away for the other does not. Our choice."""
ATTENTION_DEG = (25.0, 20.0)
"""Yaw and pitch, either way, within which a head attends; a fifth more until it is away. Our choice."""
EYES_S = (0.7, 0.1)
"""Eyes shut for the one are closed (no blink lasts that long), open for the other are open. Our choice."""
EYES_SHUT, EYES_OPEN = 0.2, 0.35
"""Openness below which an eye is shut, and above which it is open again. Our choice."""

_PAIRS = {
    **{name: (f"{name}_started", f"{name}_ended") for name in EXPRESSION_EVENTS.values()},
    "attention": ("attention_gained", "attention_lost"),
    "eyes": ("eyes_closed", "eyes_opened"),
}


@dataclass(frozen=True)
class Reaction:
    """An event to be published.

    Attributes:
        event: One of ``stream.publish.message.EVENTS``.
        face: Whose.
        onset_ns: Capture time of the change.
        delay_ms: How long after that it was decided, processing included.
    """

    event: str
    face: str
    onset_ns: int
    delay_ms: float


class _FaceReactions:
    """One face's conditions."""

    def __init__(self) -> None:
        self._conditions = {name: Debounced(*EXPRESSION_S) for name in EXPRESSION_EVENTS.values()}
        self._conditions |= {"attention": Debounced(*ATTENTION_S), "eyes": Debounced(*EYES_S)}

    def step(self, t_ns: int, face: Face) -> list[tuple[str, Change]]:
        changes = []
        held = EXPRESSION_EVENTS.get(face.label or "")
        for name, condition in self._conditions.items():
            onset_ns = None
            if name == "attention":
                holds = _attends(face, condition.on)
            elif name == "eyes":
                holds = _shut(face, condition.on)
            else:
                # Unsure is no expression, but not ready says nothing.
                holds = held == name if face.ready else None
                onset_ns = face.onset_ns
            change = condition.step(t_ns, holds, onset_ns)
            if change is not None:
                changes.append((name, change))
        # What ends is told before what begins.
        return sorted(changes, key=lambda each: each[1].on)

    def end(self) -> list[tuple[str, Change]]:
        ended = ((name, condition.end()) for name, condition in self._conditions.items())
        return [(name, change) for name, change in ended if change is not None]


class Reactions:
    """Turns messages into reaction events, for every face."""

    def __init__(self) -> None:
        self._faces: dict[str, _FaceReactions] = {}

    def step(self, message: Faces) -> list[Reaction]:
        """The events that a message makes certain; one that is not valid ends everything.

        Args:
            message: As published, in order.
        """
        t_ns = message.t_capture_ns
        if not message.valid or t_ns is None:
            faces: Mapping[str, Face] = {}
        else:
            faces = {face.id: face for face in message.faces if face.state != "lost"}
        found: list[tuple[str, str, Change]] = []
        for name in [name for name in self._faces if name not in faces]:
            found += [(name, *each) for each in self._faces.pop(name).end()]
        for name, face in faces.items():
            assert t_ns is not None
            found += [(name, *each) for each in self._faces.setdefault(name, _FaceReactions()).step(t_ns, face)]
        return [self._reaction(message, *each) for each in found]

    def _reaction(self, message: Faces, face: str, name: str, change: Change) -> Reaction:
        decided_ns = message.t_capture_ns if message.t_capture_ns is not None else message.t_publish_ns
        # Not by the time of publishing: a file has a time line of its own.
        delay_ms = max(decided_ns - change.onset_ns, 0) / 1e6 + (message.latency_ms.total or 0.0)
        return Reaction(_PAIRS[name][0 if change.on else 1], face, change.onset_ns, round(delay_ms, 2))


def _attends(face: Face, before: bool) -> bool | None:
    if face.head is None:
        return None
    slack = 1.2 if before else 1.0
    return abs(face.head.yaw) <= ATTENTION_DEG[0] * slack and abs(face.head.pitch) <= ATTENTION_DEG[1] * slack


def _shut(face: Face, before: bool) -> bool | None:
    eyes = [eye for eye in ((face.eyes.left, face.eyes.right) if face.eyes else ()) if eye is not None]
    # A wink is none: the wider open eye counts.
    return max(eyes) < (EYES_OPEN if before else EYES_SHUT) if eyes else None
