"""A row: what is said of one face at one time, or of one image; and as one line of JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from stream.publish.message import Face, Quality

SCORES = ("probs", "smoothed", "now", "logits")
"""Fields that are objects by class name; a table has one column for each class."""
MORE_SCORES = ("now_logits",)
QUALITY = tuple(field.name for field in msgspec.structs.fields(Quality))
"""Columns that came later: they stand last, so that the others keep their places."""


class VideoRow(msgspec.Struct):
    """One face in one frame, every value as the daemon's message has it.

    Attributes:
        path: The video.
        t_s: Time of the frame, s from the first.
        frame_id: Number of the frame, from 0.
        face: The face's id, of this video.
        box: x, y, width, height, px.
        state: ``new``, ``tracked``, ``coasting`` or ``lost``.
        ready: What a label rests on is there and fresh.
        reason: ``ok`` or why it is not ready.
        primary: The largest face of the frame.
        score: The detector's, 0 to 1.
        probs: By class name; they speak for the window and sum to 1.
        smoothed: What the label is taken from, ``now`` or ``probs``, smoothed over time.
        now: By class name, this moment.
        label: The class held by hysteresis; null if abstained or not ready.
        confidence: ``smoothed`` of the held class; null if not ready.
        relevance: One number per sample of the window, oldest first, sums to 1.
        scored_frame_id: Which frame the scores speak for.
        logits: By class name, before calibration.
        onset_s: Time of the frame that the present label began with, s from the first; null without one.
        quality: How good a look it was.
    """

    path: str
    t_s: float
    frame_id: int
    face: str
    box: tuple[float, float, float, float]
    state: str
    ready: bool
    reason: str
    primary: bool
    score: float
    probs: dict[str, float] | None
    smoothed: dict[str, float] | None
    now: dict[str, float] | None
    label: str | None
    confidence: float | None
    relevance: list[float] | None
    scored_frame_id: int | None
    logits: dict[str, float] | None
    onset_s: float | None
    quality: Quality

    @classmethod
    def of(cls, path: str, t_s: float, frame_id: int, face: Face) -> VideoRow:
        """The row of a face of a message."""
        return cls(
            path, t_s, frame_id, face.id, face.box, face.state, face.ready, face.reason, face.primary, face.score,
            face.probs, face.smoothed, face.now, face.label, face.confidence, face.relevance, face.scored_frame_id,
            face.logits, None if face.onset_ns is None else round(face.onset_ns / 1e9, 6), face.quality,
        )  # fmt: skip


class StillRow(msgspec.Struct, omit_defaults=True):
    """One face of one image.

    Attributes:
        path: The image; ``archive.zip/member.png`` where it lies in an archive.
        probs: By class name, sum to 1.
        label: The most probable class, abstained or not.
        confidence: Its probability.
        abstained: Whether the daemon would publish no label: confidence below the threshold, or the mouth hidden.
        logits: By class name, before calibration.
        aligned: Whether the crop was cut by landmarks found in it.
        now: By class name, from models that score single samples: what the daemon's label is taken from.
        now_logits: The same before calibration.
        quality: How good a look it is; of images without landmarks null.
        member: Its name in the archive.
        face: The face's id; only where faces were looked for.
        box: x, y, width, height, px; likewise.
        score: The detector's, 0 to 1; likewise.
    """

    path: str
    probs: dict[str, float]
    label: str
    confidence: float
    abstained: bool
    logits: dict[str, float] | None
    aligned: bool
    now: dict[str, float] | None = None
    now_logits: dict[str, float] | None = None
    quality: Quality | None = None
    member: str | None = None
    face: str | None = None
    box: tuple[float, float, float, float] | None = None
    score: float | None = None


_encoder = msgspec.json.Encoder()


def encode(row: VideoRow | StillRow) -> bytes:
    """A row as one line of JSON."""
    return _encoder.encode(row) + b"\n"


def columns(labels: Sequence[str]) -> list[str]:
    """Columns of a table of rows, for a model of these classes."""
    by_class = [f"{name}_{label}" for name in SCORES for label in labels]
    later = ["onset_s", *QUALITY, *(f"{name}_{label}" for name in MORE_SCORES for label in labels)]
    return [
        "path", "member", "t_s", "frame_id", "face", "box_x", "box_y", "box_w", "box_h", "state", "ready", "reason",
        "primary", "score", "label", "confidence", "abstained", "aligned", "scored_frame_id", *by_class, "relevance",
        *later,
    ]  # fmt: skip


def flatten(row: dict[str, Any], labels: Sequence[str]) -> dict[str, Any]:
    """A decoded row as one value per column of :func:`columns`; None where it has none."""
    flat: dict[str, Any] = {name: row.get(name) for name in columns(labels)}
    flat |= {name: (row.get("quality") or {}).get(name) for name in QUALITY}
    for name in (*SCORES, *MORE_SCORES):
        values = row.get(name) or {}
        flat |= {f"{name}_{label}": values.get(label) for label in labels}
    flat |= dict(zip(("box_x", "box_y", "box_w", "box_h"), row.get("box") or (None,) * 4, strict=True))
    return flat
