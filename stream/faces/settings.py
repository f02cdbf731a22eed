"""What can be set about finding and following faces."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from engine.errors import DferError


class FaceError(DferError):
    """A face setting out of its range, or a face model that is missing or not the one this code decodes."""


_RANGES: dict[str, tuple[float, float]] = {
    "max_faces": (1, 64),
    "detect_every_s": (0.0, 5.0),
    "recheck_every_s": (0.0, 5.0),
    "landmarks_every_s": (0.0, 1.0),
    "detect_score": (0.0, 1.0),
    "new_score": (0.0, 1.0),
    "min_presence": (0.0, 1.0),
    "coast_s": (0.0, 10.0),
    "memory_s": (0.0, 60.0),
    "confirm_within_s": (0.0, 60.0),
    "min_face_px": (4.0, 4096.0),
    "region_scale": (1.0, 4.0),
    "gate": (0.05, 10.0),
    "gate_growth_per_s": (0.0, 20.0),
    "gate_max": (0.05, 20.0),
    "cut_similarity": (-1.0, 1.0),
}


@dataclass(frozen=True)
class FaceSettings:
    """Finding and following faces. Times are seconds of capture time, so they hold at any camera rate.

    Attributes:
        max_faces: Faces followed at once, 1..64; the largest are kept.
        detect_every_s: Time between two detections while every face is followed, or what moves is none, s; twice
            that where nothing does but faces at rest. Each costs 1-2 ms.
        recheck_every_s: The same while a face is coasting or new, or none is there and something begins to move, s; 0
            detects on every frame.
        landmarks_every_s: Time between two looks of the landmark net at a face that only shifts, turns and grows, s;
            any other change is looked at at once. 0 looks on every frame.
        detect_score: Lowest detector score that can confirm or recover a known face, 0..1.
        new_score: Lowest detector score that can start a new face, 0..1.
        min_presence: Landmark presence a face must keep, 0..1. 0.5 lets 1.3 % of background through, 0.9 none.
        coast_s: How long an unseen face is carried on by its motion before it is reported lost, s.
        memory_s: How long after that its id can still be recovered by motion, s.
        confirm_within_s: A followed face that no detector confirms for this long is lost, s.
        min_face_px: Smallest face box side that starts a new face, px.
        region_scale: Side of the landmark net's region over the face box's larger side.
        gate: Largest association cost for a face seen a moment ago (distance over size plus log size ratio).
        gate_growth_per_s: How much that gate widens per second a face was not seen.
        gate_max: The widest the gate gets.
        small_faces: Whether detectors also look at tiles of the frame in turn, which finds faces of 20 px and up.
        cut_similarity: Frames less alike than this (-1..1, after alignment) may be a shot cut; -1 turns cuts off.
    """

    max_faces: int = 8
    detect_every_s: float = 0.25
    recheck_every_s: float = 0.06
    landmarks_every_s: float = 0.2
    detect_score: float = 0.5
    new_score: float = 0.6
    min_presence: float = 0.9
    coast_s: float = 0.5
    memory_s: float = 1.0
    confirm_within_s: float = 1.5
    min_face_px: float = 16.0
    region_scale: float = 1.5
    gate: float = 0.8
    gate_growth_per_s: float = 1.5
    gate_max: float = 2.5
    small_faces: bool = True
    cut_similarity: float = 0.35

    def __post_init__(self) -> None:
        if not isinstance(self.small_faces, bool):
            raise FaceError(f"faces.small_faces must be true or false, not {self.small_faces!r}")
        for field in fields(self):
            if field.name not in _RANGES:
                continue
            value, (low, high) = getattr(self, field.name), _RANGES[field.name]
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise FaceError(f"faces.{field.name} must be a number, not {value!r}")
            if not (math.isfinite(value) and low <= value <= high):
                raise FaceError(f"faces.{field.name} must be in [{low}, {high}], not {value!r}")
        if not isinstance(self.max_faces, int):
            raise FaceError(f"faces.max_faces must be a whole number, not {self.max_faces!r}")
        if self.gate_max < self.gate:
            raise FaceError(f"faces.gate_max ({self.gate_max}) must not be below faces.gate ({self.gate})")
