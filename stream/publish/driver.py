"""What travels on ``driver/<source>``: schema ``dfer.driver-1``."""

from __future__ import annotations

import msgspec

DRIVER_SCHEMA = "dfer.driver/1.0"
KIND = "driver"

LEVELS = ("none", "notice", "warning", "alarm")
"""``Finding.level``, in this order."""

STATES = ("fine", "learning", "unknown", *LEVELS[1:])
"""``DriverState.state``."""

REASONS = (
    "ok", "learning", "settling", "no_message", "unreadable", "stale", "clock", "restarted", "no_camera", "stalled",
    "frozen", "ended", "no_driver", "head_unseen", "eyes_unseen",
)  # fmt: skip
"""``DriverState.reason``: ``ok``, or what keeps it from being so."""

FINDINGS = (
    "distraction", "time_sharing", "eye_closure", "long_blinks", "perclos", "yawning", "absence", "occlusion",
    "wrong_seat", "negative_affect",
)  # fmt: skip
"""Keys of ``DriverState.findings``."""


class Finding(msgspec.Struct, frozen=True):
    """One thing that is watched for.

    Attributes:
        level: One of :data:`LEVELS`.
        known: Whether it can be judged now.
        since_ns: Capture time at which it began, CLOCK_MONOTONIC; null while it does not hold.
        seconds: For how long it has held, s of capture time; 0 while it does not.
        value: The figure judged: s away, share of the window, a count; null where there is none.
    """

    level: str = "none"
    known: bool = False
    since_ns: int | None = None
    seconds: float = 0.0
    value: float | None = None


class Baseline(msgspec.Struct, frozen=True):
    """What has been learned of this driver.

    Attributes:
        learned: Enough was seen.
        share: How much of it, 0 to 1.
        yaw: Where the head rests, degrees; null before there is any.
        pitch: Likewise.
        eyes_open: How far the eyes open, 0 to 1; likewise.
        negative: Share of negative expression on the calm face, 0 to 1; likewise.
    """

    learned: bool = False
    share: float = 0.0
    yaw: float | None = None
    pitch: float | None = None
    eyes_open: float | None = None
    negative: float | None = None


class DriverState(msgspec.Struct, kw_only=True):
    """The driver's state as the policy judges it, several times a second and at every change.

    ``fine`` is said only of fresh input that was good for a second, with head and eyes seen and a baseline learned.
    Whoever hears nothing for ten periods of ``rate_hz`` must take the state for ``unknown``.

    Attributes:
        source: The faces' source.
        session: UUID of this start of the policy.
        seq: Grows by one.
        boot_id: CLOCK_MONOTONIC times compare within one boot.
        t_publish_ns: When it was judged.
        state: One of :data:`STATES`; the highest level of the findings, else why there is none.
        reason: One of :data:`REASONS`.
        valid: Whether the input can be believed now.
        findings: By name, :data:`FINDINGS`.
        baseline: What has been learned of the driver.
        face: Id of the driver's face; null while none is seen.
        t_capture_ns: Capture time of the newest frame judged; null before the first.
        faces_session: Session of the newest message judged; null before the first.
        faces_seq: Its number.
        rate_hz: Least rate at which these messages come.
    """

    source: str
    session: str
    seq: int
    boot_id: str
    t_publish_ns: int
    state: str
    reason: str
    valid: bool
    findings: dict[str, Finding]
    baseline: Baseline = Baseline()
    face: str | None = None
    t_capture_ns: int | None = None
    faces_session: str | None = None
    faces_seq: int | None = None
    rate_hz: float | None = None
    schema: str = DRIVER_SCHEMA
