"""What the tracker hands to the rest of the daemon."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from stream.faces.signals import Signals

State = Literal["new", "tracked", "coasting", "lost"]
Box = tuple[float, float, float, float]
"""x, y, width, height, px."""


@dataclass(frozen=True, eq=False)
class TrackedFace:
    """One face in one frame.

    Attributes:
        id: Unique in the tracker's life, never given to another face.
        state: ``new`` on its first frame, ``tracked`` while its landmarks are seen, ``coasting`` while they are not
            (box predicted by motion, or seen by the detector only), ``lost`` exactly once when it is given up. An id
            recovered by motion within ``memory_s`` after that comes back as ``tracked``.
        age_frames: Frames since the face was first seen; 0 on the first.
        box: (x, y, width, height) of the face from brows to chin, px; may reach outside the frame.
        score: Detector score of the last detection that confirmed the face, 0..1.
        landmarks: ``(468, 2)`` float32 px, FaceMesh order; None unless seen in this frame.
        points5: ``(5, 2)`` float32 px, the crop's points (see ``stream.window.crop``); None unless seen in this frame.
        presence: The landmark net's face presence at its last look, 0..1; 0 where it saw none.
        yaw_deg: Turn of the head, positive towards the image's right; None unless seen in this frame.
        pitch_deg: Nod of the head, positive upwards; None unless seen in this frame.
        size_px: Square root of the box's area, px.
        sharpness: Of the aligned face, see :func:`stream.faces.quality.sharpness`; small is blurred. None unless seen
            in this frame.
        roll_deg: Lean of the head, positive clockwise in the image; None unless seen in this frame.
        signals: How far eyes and mouth are open; None unless seen in this frame.
    """

    id: str
    state: State
    age_frames: int
    box: Box
    score: float
    landmarks: NDArray[np.float32] | None
    points5: NDArray[np.float32] | None
    presence: float
    yaw_deg: float | None
    pitch_deg: float | None
    size_px: float
    sharpness: float | None
    roll_deg: float | None = None
    signals: Signals | None = None


@dataclass(frozen=True)
class FacesResult:
    """All faces of one frame.

    Attributes:
        faces: Oldest face first.
        cut: Whether this frame starts a new shot; every earlier id is then given up.
        detect_ms: Time spent in the detectors on this frame, ms; 0 where none ran.
        landmark_ms: Time spent in the landmark net on this frame, ms.
        detected: Whether a detector ran on this frame.
        revoked: Whether the cut of the frame before was none: the ids that it gave up are back.
    """

    faces: list[TrackedFace] = field(default_factory=list)
    cut: bool = False
    detect_ms: float = 0.0
    landmark_ms: float = 0.0
    detected: bool = False
    revoked: bool = False
