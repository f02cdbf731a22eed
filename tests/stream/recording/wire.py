"""Frames of the wire as a publisher makes them, with the time at which they came."""

from __future__ import annotations

from collections.abc import Iterator

from stream.publish.message import Event, Face, Faces, Model, Window
from stream.publish.wire import encode

LABELS = ("happiness", "sadness", "neutral")
BEGUN_NS = 1_790_000_000_000_000_000
PERIOD_NS = 33_333_333


def faces(seq: int, label: str | None = "happiness", session: str = "s1", source: str = "cam1") -> Faces:
    shares = {name: 0.7 if name == (label or "neutral") else 0.15 for name in LABELS}
    face = Face(
        id="f1",
        state="tracked",
        age_frames=seq,
        primary=True,
        box=(1.0, 2.0, 3.0, 4.0),
        score=0.9,
        ready=True,
        reason="ok",
        window=Window(16, 16, 1875.0),
        probs=shares,
        smoothed=shares,
        label=label,
        confidence=0.7,
    )
    return Faces(
        source=source,
        session=session,
        seq=seq,
        frame_id=seq,
        dropped_total=0,
        t_publish_ns=5_000_000_000 + seq * PERIOD_NS,
        t_capture_ns=4_990_000_000 + seq * PERIOD_NS,
        boot_id="b",
        valid=True,
        reason="ok",
        model=Model("m", "0" * 64, "fp32", "openvino", LABELS),
        faces=[face],
    )


def event(seq: int, name: str = "camera_lost") -> bytes:
    said = Event(
        source="cam1", session="s1", seq=seq, boot_id="b", t_publish_ns=6_000_000_000 + seq, event=name, face="f1"
    )
    return b"event/cam1 " + encode(said)


def frame(seq: int, label: str | None = "happiness", session: str = "s1") -> bytes:
    return b"faces/cam1 " + encode(faces(seq, label, session))


def stream(count: int) -> Iterator[tuple[bytes, int]]:
    """Frames at 30 Hz whose label changes every second."""
    for seq in range(count):
        yield frame(seq, LABELS[seq // 30 % 3]), BEGUN_NS + seq * PERIOD_NS
