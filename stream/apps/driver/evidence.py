"""From a message to what may be believed of it: whether it is fresh and in order, and which face is the driver's."""

from __future__ import annotations

import math
from dataclasses import dataclass

from stream.apps.driver.settings import InputSettings, SeatSettings
from stream.publish.message import Face, Faces

_DRIVER_STATES = ("new", "tracked", "coasting")


@dataclass(frozen=True)
class Verdict:
    """What :class:`InputCheck` says.

    Attributes:
        ok: The newest input is fresh and in order.
        reason: ``ok`` or why not, one of ``stream.publish.driver.REASONS``.
        frame: The frame to judge, None where this step brought none.
        restart: What was counted before has no bearing on it.
    """

    ok: bool
    reason: str
    frame: Faces | None = None
    restart: bool = False


class InputCheck:
    """Believes a message that is valid, young, in order, and whose clocks move together.

    Args:
        settings: Limits.
    """

    def __init__(self, settings: InputSettings) -> None:
        self._settings = settings
        self._now_ns: int | None = None
        self._heard_ns = 0
        self._last: Faces | None = None
        self._order = ("", -1)
        self._standing = Verdict(False, "no_message")

    def step(self, message: Faces | None, now_ns: int, unreadable: bool = False) -> Verdict:
        """Judge what came.

        Args:
            message: A message, or None where none came.
            now_ns: CLOCK_MONOTONIC of the reader.
            unreadable: Something came that is no message of this schema.
        """
        back = self._now_ns is not None and now_ns < self._now_ns
        self._now_ns = now_ns
        verdict = self._standing
        if back:
            self._heard_ns = now_ns
            verdict = Verdict(False, "clock", restart=True)
        elif unreadable:
            verdict = Verdict(False, "unreadable")
        elif message is not None:
            verdict = self._judge(message, now_ns)
            self._heard_ns, self._order = now_ns, (message.session, message.seq)
            if verdict.ok or verdict.reason in ("clock", "restarted") or self._newer(message):
                self._last = message
        elif verdict.ok and now_ns - self._heard_ns > self._settings.stale_ms * 1e6:
            verdict = Verdict(False, "no_message")
        self._standing = Verdict(verdict.ok, verdict.reason)
        return verdict

    def _newer(self, message: Faces) -> bool:
        captured = message.t_capture_ns
        newest = self._last.t_capture_ns if self._last is not None else None
        return message.valid and captured is not None and (newest is None or captured > newest)

    def _judge(self, message: Faces, now_ns: int) -> Verdict:
        captured, last, since_ns = message.t_capture_ns, self._last, now_ns - self._heard_ns
        if not message.valid:
            known = message.reason in ("no_camera", "stalled", "frozen", "ended")
            return Verdict(False, message.reason if known else "unreadable")
        if captured is None:
            return Verdict(False, "unreadable")
        if message.t_capture_src != "file":
            # A file's capture times are its own time line: only the steps between them say something.
            if now_ns - captured > self._settings.stale_ms * 1e6:
                return Verdict(False, "stale")
            if captured - now_ns > self._settings.clock_jump_ms * 1e6:
                return Verdict(False, "clock", restart=True)
        if last is None or last.t_capture_ns is None:
            return Verdict(True, "ok", message, restart=True)
        if message.session != self._order[0] or message.boot_id != last.boot_id:
            return Verdict(False, "restarted", restart=True)
        step_ns = captured - last.t_capture_ns
        if message.seq <= self._order[1] or step_ns <= 0:
            return Verdict(False, "clock", restart=step_ns < 0)
        if abs(step_ns - since_ns) > self._settings.clock_jump_ms * 1e6 and self._standing.ok:
            return Verdict(False, "clock", restart=True)
        if max(step_ns, since_ns) > self._settings.stale_ms * 1e6:
            # It is good, but there was a hole before it.
            return Verdict(False, "stale")
        return Verdict(True, "ok", message)


@dataclass(frozen=True)
class Observation:
    """One frame as the monitors see it; null is unseen.

    Attributes:
        t_ns: Capture time.
        face: The driver's, None where no face is in the seat.
        elsewhere: There are faces, and none is in the seat.
        yaw: Of the head, degrees, as in ``stream.publish.message.Head``.
        pitch: Likewise.
        eyes: How far the wider open eye is open, 0 to 1.
        mouth: How far the mouth is open, 0 to 1.
        negative: Share of negative expression, 0 to 1; null before the window is ready.
    """

    t_ns: int
    face: Face | None = None
    elsewhere: bool = False
    yaw: float | None = None
    pitch: float | None = None
    eyes: float | None = None
    mouth: float | None = None
    negative: float | None = None


_NEGATIVE = ("anger", "disgust", "fear", "sadness")


class Seat:
    """Which face is the driver's: the one that was, while it stays in the seat; else the primary or largest in it.

    Args:
        settings: Where the seat is.
    """

    def __init__(self, settings: SeatSettings) -> None:
        self._settings = settings
        self._id: str | None = None

    def reset(self) -> None:
        """Forget who drove."""
        self._id = None

    def observe(self, message: Faces) -> Observation:
        """The driver in a believed message."""
        faces = [face for face in message.faces if face.state in _DRIVER_STATES]
        inside = [face for face in faces if self._inside(face, message)]
        assert message.t_capture_ns is not None
        if not inside:
            return Observation(message.t_capture_ns, elsewhere=bool(faces))
        face = min(inside, key=lambda face: (face.id != self._id, not face.primary, -face.box[2] * face.box[3]))
        self._id = face.id
        if face.state == "coasting":
            return Observation(message.t_capture_ns, face)
        # A publisher of schema 1.0 says the head's direction under `quality`.
        yaw, pitch = (face.head.yaw, face.head.pitch) if face.head else (face.quality.yaw_deg, face.quality.pitch_deg)
        eyes = [_finite(eye) for eye in ((face.eyes.left, face.eyes.right) if face.eyes else ())]
        scores = (face.smoothed or face.probs or {}) if face.ready else {}
        return Observation(
            message.t_capture_ns,
            face,
            yaw=_finite(yaw),
            pitch=_finite(pitch),
            eyes=max((eye for eye in eyes if eye is not None), default=None),
            mouth=_finite(face.mouth_open),
            negative=_finite(sum(scores.get(name, 0.0) for name in _NEGATIVE)) if scores else None,
        )

    def _inside(self, face: Face, message: Faces) -> bool:
        x, y, width, height = self._settings.region
        if not message.width or not message.height:
            return (x, y, width, height) == (0, 0, 1, 1)
        across = (face.box[0] + face.box[2] / 2) / message.width
        down = (face.box[1] + face.box[3] / 2) / message.height
        # A face that reaches beyond the edge is still in a seat that ends there.
        across, down = min(max(across, 0.0), 1.0), min(max(down, 0.0), 1.0)
        return x <= across <= x + width and y <= down <= y + height


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
