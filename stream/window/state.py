"""What is kept of each face between samples, and one tick's work on all of them."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from stream.window.result import WindowScore

Crop = NDArray[np.uint8]


@dataclass(eq=False)
class FaceWindowState:
    """What is kept of one face: its place in the ring, its unfinished unit and the times of its samples.

    Attributes:
        slot: Its place in the ring.
        tick: Of its newest sample.
        seen_ns: Capture time of the newest frame that showed it.
        crops: The newest samples, at most one unit.
        history: Capture time ns of each sample of the window, and whether it repeats the one before it.
        samples: Taken since it began.
        score: The newest.
        live: False once the face was reset: what is then still being encoded for it is dropped.
    """

    slot: int
    tick: int
    seen_ns: int
    crops: deque[Crop]
    history: deque[tuple[int, bool]]
    samples: int = 0
    score: WindowScore | None = None
    live: bool = True


@dataclass
class EncodeBatch:
    """One tick's work: units to encode in one call, whose they are, and whose windows are then scored.

    Attributes:
        t_ns: Capture time of the frame that was sampled.
        frame_id: Its number.
        faces: Faces that were sampled.
        units: ``(U, S, S, 3)`` uint8 each.
        owners: The face of each unit.
        due: Faces whose window completed a hop.
    """

    t_ns: int
    frame_id: int
    faces: int
    units: list[Crop] = field(default_factory=list)
    owners: list[FaceWindowState] = field(default_factory=list)
    due: list[FaceWindowState] = field(default_factory=list)
