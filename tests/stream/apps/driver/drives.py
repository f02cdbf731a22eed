"""Scripted drives: what a camera before a driver publishes, frame by frame, at 15 frames/s."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from stream.apps.driver.policy import DriverPolicy
from stream.apps.driver.settings import BaselineSettings, DriverSettings, SeatSettings
from stream.publish.driver import LEVELS, DriverState
from stream.publish.message import Eyes, Face, Faces, Head, Window

FPS = 15
START_NS = 500_000_000_000
BOOT = "boot-1"
QUICK = DriverSettings(baseline=BaselineSettings(seconds=10, first_s=2))
"""The defaults but for the first minute, of which ten seconds do."""
CALM = {
    "happiness": 0.05,
    "sadness": 0.05,
    "neutral": 0.75,
    "anger": 0.05,
    "surprise": 0.04,
    "disgust": 0.03,
    "fear": 0.03,
}

Look = Callable[[float], dict[str, Any]]
"""From seconds since the part began to what differs from a calm driver."""


def calm(t_s: float) -> dict[str, Any]:
    """Eyes open but for a blink of 0.13 s every four seconds."""
    return {"eyes": 0.05 if t_s % 4 < 0.13 else 0.8}


def driver_face(
    eyes: float | None = 0.8,
    yaw: float | None = 2.0,
    pitch: float = -4.0,
    mouth: float | None = 0.05,
    scores: dict[str, float] | None = None,
    **changes: Any,
) -> Face:
    told: dict[str, Any] = {
        "id": "d1",
        "state": "tracked",
        "age_frames": 10,
        "primary": True,
        "box": (250.0, 120.0, 140.0, 180.0),
        "score": 0.95,
        "ready": True,
        "reason": "ok",
        "window": Window(16, 16, 1875.0),
        "smoothed": scores or CALM,
        "eyes": None if eyes is None else Eyes(eyes, eyes),
        "mouth_open": mouth,
        "head": None if yaw is None else Head(yaw, pitch, 0.0),
    }
    return Face(**(told | changes))


@dataclass
class Drive:
    """A drive in parts, judged as it goes.

    Attributes:
        settings: Of the policy.
        states: The policy's state after each step.
        published: What it would have sent.
    """

    settings: DriverSettings = field(default_factory=lambda: QUICK)
    fps: int = FPS
    states: list[DriverState] = field(default_factory=list)
    published: list[DriverState] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.policy = DriverPolicy("cam0", "s", BOOT, self.settings)
        self.now_ns, self.capture_offset_ns, self.seq = START_NS, 0, 0
        self.session, self.captured_ns = "daemon-1", 0

    def drive(self, seconds: float, look: Look = calm, faces: Callable[[float], list[Face]] | None = None) -> Drive:
        """Frames for so long: the driver as `look` says, or these faces."""
        for k in range(round(seconds * self.fps)):
            t_s = k / self.fps
            self.show(faces(t_s) if faces else [driver_face(**look(t_s))])
        return self

    def show(self, faces: list[Face], **changes: Any) -> DriverState:
        self.now_ns += round(1e9 / self.fps)
        return self.send(self.message(faces, **changes))

    def message(self, faces: list[Face], **changes: Any) -> Faces:
        self.seq += 1
        told: dict[str, Any] = {
            "source": "cam0", "session": self.session, "seq": self.seq, "frame_id": self.seq, "dropped_total": 0,
            "t_publish_ns": self.now_ns, "boot_id": BOOT, "valid": True, "reason": "ok", "rate_hz": float(self.fps),
            "t_capture_ns": self.now_ns - 20_000_000 + self.capture_offset_ns, "t_capture_src": "driver",
            "width": 640, "height": 480, "faces": faces,
        }  # fmt: skip
        message = Faces(**(told | changes))
        self.captured_ns = message.t_capture_ns or self.captured_ns
        return message

    def blind(self, seconds: float, reason: str = "no_camera") -> Drive:
        """Twice a second, no camera."""
        for k in range(round(seconds * 10)):
            self.now_ns += 100_000_000
            lost = self.message([], valid=False, reason=reason, t_capture_ns=None) if k % 5 == 0 else None
            self.send(lost)
        return self

    def silence(self, seconds: float) -> Drive:
        """Nothing comes at all."""
        for _ in range(round(seconds * 10)):
            self.now_ns += 100_000_000
            self.send(None)
        return self

    def send(self, message: Faces | None, unreadable: bool = False) -> DriverState:
        self.published += self.policy.step(message, self.now_ns, unreadable)
        self.states.append(self.policy.state)
        return self.policy.state

    @property
    def now(self) -> DriverState:
        return self.states[-1]

    def since(self, mark: int) -> list[DriverState]:
        return self.states[mark:]

    def highest(self, finding: str, mark: int = 0) -> str:
        return LEVELS[max(LEVELS.index(state.findings[finding].level) for state in self.since(mark))]


def on_the_road(settings: DriverSettings = QUICK) -> Drive:
    """A drive whose baseline is learned: everything is fine."""
    drive = Drive(settings).drive(settings.baseline.seconds + 3)
    assert drive.now.state == "fine", drive.now
    return drive


def left_seat() -> DriverSettings:
    """A driver who sits in the picture's left half."""
    return DriverSettings(baseline=QUICK.baseline, seat=SeatSettings(region=(0.0, 0.0, 0.5, 1.0)))


def glances(every_s: float, length_s: float, **look: Any) -> Look:
    """Looks away for `length_s` every `every_s`, else calm."""
    return lambda t_s: calm(t_s) | (look if t_s % every_s >= every_s - length_s else {})


def frames_of(states: list[DriverState], word: str) -> Iterator[int]:
    return (k for k, state in enumerate(states) if state.state == word)
