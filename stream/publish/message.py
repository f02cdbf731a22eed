"""Message schema 1: what travels on ``faces/``, ``status/`` and ``event/``.

Structs alone: no socket (``wire.py`` makes bytes of them) and no checks (``rules.py``), so that whoever reads messages
in Python can use them. Within a major version the schema only grows.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import msgspec

from engine.errors import DferError
from stream.publish.driver import DriverState

FACES_SCHEMA = "dfer.faces/1.1"
STATUS_SCHEMA = "dfer.status/1.1"
EVENT_SCHEMA = "dfer.event/1.1"

REASONS = ("ok", "no_camera", "stalled", "frozen", "ended")
"""``Faces.reason``. ``frozen`` only for live devices, ``ended`` only in the last message of a file."""

DEGRADED = ("scheduler", "backend", "thermal", "damaged", "blank")
"""``Faces.degraded``. The last two are of the frame itself: the decoder met an error in it, or it is of one colour."""

FACE_STATES = ("new", "tracked", "coasting", "lost")
"""``Face.state``."""

FACE_REASONS = ("ok", "warming", "starved", "occluded", "dark")
"""``Face.reason``; anything but ``ok`` means not ready."""

EXPRESSION_EVENTS = {
    "happiness": "smile",
    "surprise": "surprise",
    "anger": "anger",
    "sadness": "sadness",
    "fear": "fear",
    "disgust": "disgust",
}
"""Classes whose beginning and end are events, and what they are called there: ``smile_started``, ``smile_ended``."""

EVENTS = (
    "face_new", "face_lost", "camera_lost", "camera_ok",
    *(f"{name}_{end}" for name in EXPRESSION_EVENTS.values() for end in ("started", "ended")),
    "attention_gained", "attention_lost", "eyes_closed", "eyes_opened",
)  # fmt: skip
"""``Event.event``."""

CAPTURE_CLOCKS = ("driver", "arrival", "file")
"""``Faces.t_capture_src``."""


class MessageError(DferError):
    """A message that cannot be: the text names the field, or the version and what to do."""


class LatencyMs(msgspec.Struct, frozen=True):
    """Where the time went, ms; null where a stage did not run for this frame."""

    capture: float | None = None
    detect: float | None = None
    infer: float | None = None
    total: float | None = None


class Model(msgspec.Struct, frozen=True):
    """Which model made the scores. ``calibration`` names how logits became probabilities, null if by plain softmax."""

    name: str
    sha256: str
    precision: str
    backend: str
    labels: tuple[str, ...]
    calibration: str | None = None


class Window(msgspec.Struct, frozen=True):
    """How full the window is: ``n`` of ``need`` samples seen over ``span_ms``, ``gaps`` of them repeats."""

    n: int
    need: int
    span_ms: float
    gaps: int = 0


class Quality(msgspec.Struct, frozen=True):
    """How good a look it was.

    ``size_px`` is the face's side in the frame; ``blur`` is 0 (sharp) to 1; ``brightness`` the face's mean, 0 (black)
    to 1; ``eyes_hidden`` and ``mouth_hidden`` how sure it is, 0 to 1, that something covers them: sunglasses, a mask, a
    hand. A face whose mouth is hidden is ``occluded``.
    """

    size_px: float | None = None
    blur: float | None = None
    yaw_deg: float | None = None
    pitch_deg: float | None = None
    brightness: float | None = None
    eyes_hidden: float | None = None
    mouth_hidden: float | None = None


class Eyes(msgspec.Struct, frozen=True):
    """How far each eye is open, 0 (shut) to 1; null where it cannot be seen. Left and right are the person's own."""

    left: float | None = None
    right: float | None = None


class Head(msgspec.Struct, frozen=True):
    """Which way the head looks, degrees, seen from the camera.

    ``yaw`` is positive where the face turns towards the image's right, ``pitch`` where it looks up, ``roll`` where the
    head leans clockwise in the image; the picture is never mirrored for it.
    """

    yaw: float
    pitch: float
    roll: float


class Face(msgspec.Struct):
    """One face of one frame.

    Attributes:
        id: Never reused within a session.
        state: One of :data:`FACE_STATES`.
        age_frames: Frames since the track began.
        primary: The driver or user: largest in the configured region of interest.
        box: x, y, width, height, px.
        score: The detector's, 0–1.
        ready: What a label rests on is there and fresh: a sample where the model has ``now``, else a full window. How
            full the window of ``probs`` is, ``window`` says.
        reason: ``ok`` or why it is not ready, one of :data:`FACE_REASONS`.
        logits: By class name, before calibration.
        probs: By class name, calibrated; they speak for the window, as far as it is filled, and sum to 1.
        smoothed: By class name, what the label is taken from: ``now`` where the model has it, against the face's own
            rest, else ``probs``, smoothed over time; null if not ready.
        now: By class name, calibrated; they speak for the newest sample, from models that score single samples.
        label: The class held by hysteresis; it speaks for the moment that ``smoothed`` speaks for; null if abstained or
            not ready.
        confidence: ``smoothed`` of the held class, also while abstaining; null if not ready.
        scored_frame_id: The newest frame the scores speak for.
        score_age_ms: How old they are.
        window: How full the window is.
        relevance: One number per sample of the window, oldest first, sums to 1.
        quality: How good a look it was.
        neutral_shift: By class name, what this person's neutral baseline adds to the logits; null if none does.
        onset_ns: Capture time, CLOCK_MONOTONIC, of the frame that the present label began with, the first in which its
            class led; null without one.
        eyes: How far they are open; null unless the landmarks were seen in this frame.
        mouth_open: 0 (shut) to 1; null where it cannot be seen.
        head: Which way it looks; null unless the landmarks were seen in this frame.
    """

    id: str
    state: str
    age_frames: int
    primary: bool
    box: tuple[float, float, float, float]
    score: float
    ready: bool
    reason: str
    window: Window
    logits: dict[str, float] | None = None
    probs: dict[str, float] | None = None
    smoothed: dict[str, float] | None = None
    now: dict[str, float] | None = None
    label: str | None = None
    confidence: float | None = None
    scored_frame_id: int | None = None
    score_age_ms: float | None = None
    relevance: list[float] | None = None
    quality: Quality = Quality()
    neutral_shift: dict[str, float] | None = None
    onset_ns: int | None = None
    eyes: Eyes | None = None
    mouth_open: float | None = None
    head: Head | None = None


class Faces(msgspec.Struct, kw_only=True):
    """What one processed frame showed; also sent, twice a second and with no faces, while there is no camera.

    ``rate_hz`` is the rate at which the publisher means to send right now, so that a subscriber of this topic alone can
    judge freshness. ``t_capture_ns`` and ``t_publish_ns`` are CLOCK_MONOTONIC, comparable within one ``boot_id``;
    ``t_capture_unix_error_ns`` is how far ``t_capture_unix_ns`` may be off, null where the system does not know.
    """

    source: str
    session: str
    seq: int
    frame_id: int
    dropped_total: int
    t_publish_ns: int
    boot_id: str
    valid: bool
    reason: str
    rate_hz: float | None = None
    t_capture_ns: int | None = None
    t_capture_unix_ns: int | None = None
    t_capture_unix_error_ns: int | None = None
    t_capture_src: str | None = None
    degraded: list[str] = []
    width: int | None = None
    height: int | None = None
    latency_ms: LatencyMs = LatencyMs()
    model: Model | None = None
    faces: list[Face] = []
    schema: str = FACES_SCHEMA


class StageMs(msgspec.Struct, frozen=True):
    """Percentiles of one stage over its last ``n`` steps, ms."""

    p50: float
    p99: float
    n: int


class Status(msgspec.Struct, kw_only=True):
    """The daemon's health, once a second and again, byte for byte, to every new subscriber.

    ``state`` is ``ok``, ``degraded`` or ``starting``; ``camera`` is one of :data:`REASONS`. ``stale`` lists stages
    whose heartbeat is overdue. ``rate_hz`` is the rate of these messages themselves, so that a subscriber of this topic
    alone can judge freshness. ``temperature_c`` maps a thermal zone to °C, null where the machine shows none.
    ``t_unix_error_ns`` is how far the wall clock may be off, null where the system does not know. ``subscribers`` are
    connected now; ``sent_away_total`` counts those that were refused or disconnected because they exceeded the limits.
    """

    source: str
    session: str
    seq: int
    boot_id: str
    t_publish_ns: int
    t_publish_unix_ns: int
    uptime_s: float
    state: str
    camera: str
    version: str
    rate_hz: float | None = None
    degraded: list[str] = []
    stale: list[str] = []
    declared_hz: float | None = None
    rate_in_hz: float | None = None
    rate_out_hz: float | None = None
    frames_total: int = 0
    published_total: int = 0
    dropped_total: int = 0
    refused_total: int = 0
    reconnects_total: int = 0
    backend_faults_total: int = 0
    latency_ms: dict[str, StageMs] = {}
    temperature_c: dict[str, float] | None = None
    memory_mb: float | None = None
    t_unix_error_ns: int | None = None
    subscribers: int | None = None
    sent_away_total: int = 0
    model: Model | None = None
    note: str | None = None
    schema: str = STATUS_SCHEMA


class Event(msgspec.Struct, kw_only=True):
    """A hint that something changed; always derivable from ``faces``.

    ``t_onset_ns`` is the capture time, CLOCK_MONOTONIC, of the frame in which it changed, and ``delay_ms`` how long
    after that it was decided; both null where the change and the decision are one.
    """

    source: str
    session: str
    seq: int
    boot_id: str
    t_publish_ns: int
    event: str
    face: str | None = None
    frame_id: int | None = None
    t_onset_ns: int | None = None
    delay_ms: float | None = None
    schema: str = EVENT_SCHEMA


Message = Faces | Status | Event | DriverState


def scores(labels: Sequence[str], values: Iterable[float]) -> dict[str, float] | None:
    """Scores by class name, rounded to six decimals; null if one of them is not finite.

    Args:
        labels: C class names.
        values: C numbers in their order; any float type.
    """
    numbers = [round(float(value), 6) for value in values]
    if not math.isfinite(sum(numbers)):
        return None
    return dict(zip(labels, numbers, strict=True))
