"""What a camera and its capture process say to each other: orders one way, events the other, as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass
class Resume:
    """Where a file source stands, for a capture process that replaces another.

    Attributes:
        position: Next frame within the pass.
        base_ns: Media time at which the pass began, ns.
        start_ns: CLOCK_MONOTONIC ns of media time 0, once known.
        start_unix_ns: The same as wall clock.
    """

    position: int = 0
    base_ns: int = 0
    start_ns: int | None = None
    start_unix_ns: int | None = None


@dataclass(frozen=True)
class Orders:
    """What the camera asks for; the first and only line on standard input.

    Attributes:
        uri: The camera URI, credentials included.
        settings: ``CameraSettings`` as a dict.
        slot_fd: The slot's memfd.
        control_fd: Socket to the camera; its end of file means that the camera's process is gone.
        frame_fd: Event counter rung for every frame.
        taken_fd: Event counter rung by the camera for every frame it took.
        parent_pid: Who started the capture process.
        die_with_thread: Whether the kernel shall kill it with the thread that started it (the main thread only).
        resume: Files: where to go on.
    """

    uri: str
    settings: dict[str, Any]
    slot_fd: int
    control_fd: int
    frame_fd: int
    taken_fd: int
    parent_pid: int
    die_with_thread: bool
    resume: Resume = field(default_factory=Resume)

    def encode(self) -> bytes:
        """One line of JSON."""
        return json.dumps(asdict(self)).encode() + b"\n"

    @classmethod
    def decode(cls, line: str) -> Orders:
        """Read what :meth:`encode` wrote."""
        fields = json.loads(line)
        return cls(**{**fields, "resume": Resume(**fields["resume"])})


@dataclass(frozen=True)
class Event:
    """What a capture process reports; one packet.

    Attributes:
        kind: ``opening``, ``opened``, ``started`` (files: when media time 0 is), ``frame_lost`` (one frame
            cannot be used, the source goes on), ``lost``; and at its end ``ended``,
            ``error`` (it can never work) or, added by the reader, ``exit``.
        t_ns: When, CLOCK_MONOTONIC ns: a reader that was busy for a second must not think that it happened now.
        message: For a person; credentials taken out.
        fps: ``opened``: declared frames/s, 0 where unknown.
        width: ``opened``: px.
        height: ``opened``: px.
        predicted: ``opened``: whether its pictures are made of others.
        start_ns: ``started``: CLOCK_MONOTONIC ns of media time 0.
        start_unix_ns: ``started``: the same as wall clock.
    """

    kind: str
    t_ns: int = 0
    message: str = ""
    fps: float = 0.0
    width: int = 0
    height: int = 0
    predicted: bool = False
    start_ns: int = 0
    start_unix_ns: int = 0

    def encode(self) -> bytes:
        """One JSON object."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def decode(cls, packet: bytes) -> Event:
        """Read what :meth:`encode` wrote."""
        return cls(**json.loads(packet))
