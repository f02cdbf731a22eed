"""How good a look at a face a frame gives, as the message says it, and whether a label may rest on it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from stream.camera.pixels import Image
from stream.faces.covered import Cover, cover
from stream.faces.result import TrackedFace
from stream.publish.message import Head, Quality

BLURRED = 3.5
"""Sharpness under which a face looks blurred (stream.faces.quality)."""
HIDDEN = 0.8
"""Of 253 clean faces none is as surely covered, of 157 masked ones all are (`tests/scenes/covered.py`, 2026-11-28)."""
DARK = 0.04
"""Mean of a face under which the tracker loses most of them (half at 0.03); those it sees are read like others."""
_NEWEST = 0.5
"""Share of the newest look: one odd sample hides nothing, the third one of a mask does."""


class Looks:
    """What the last samples of each face showed of it."""

    def __init__(self) -> None:
        self._covers: dict[str, Cover] = {}

    def step(self, face_id: str, image: Image, points5: NDArray[np.floating]) -> None:
        """Look at a face whose sample is taken; as :func:`stream.faces.covered.cover`."""
        seen, before = cover(image, points5), self._covers.get(face_id)
        if before is not None:
            eyes = before.eyes + _NEWEST * (seen.eyes - before.eyes)
            seen = replace(seen, eyes=eyes, mouth=before.mouth + _NEWEST * (seen.mouth - before.mouth))
        self._covers[face_id] = seen

    def of(self, face_id: str) -> Cover | None:
        """The newest look at a face."""
        return self._covers.get(face_id)

    def reason(self, face_id: str, reason: str) -> str:
        """Why a face is not ready: with its mouth hidden a laugh is read as rest; or there was no light to see it by.

        Args:
            face_id: Whose.
            reason: What its window and its track say, ``ok`` if nothing.
        """
        seen = self._covers.get(face_id)
        if seen is None:
            return reason
        if reason == "ok":
            return "occluded" if seen.mouth > HIDDEN else "ok"
        return "dark" if reason == "occluded" and seen.brightness < DARK else reason

    def forget(self, face_id: str) -> None:
        """A face is gone."""
        self._covers.pop(face_id, None)


def describe(
    size_px: float, sharpness: float | None, yaw_deg: float | None, pitch_deg: float | None, seen: Cover | None = None
) -> Quality:
    """What the message says of a look; ``blur`` is one half where a face begins to look blurred.

    Args:
        size_px: Side of the face in the frame.
        sharpness: As :func:`stream.faces.quality.sharpness` has it; None for what was not seen.
        yaw_deg: Turn of the head; likewise.
        pitch_deg: Nod of the head; likewise.
        seen: What of it can be seen; likewise.
    """
    blur = None if sharpness is None else round(BLURRED / (BLURRED + max(sharpness, 0.0)), 3)
    shown = (None,) * 3 if seen is None else tuple(round(each, 3) for each in (seen.brightness, seen.eyes, seen.mouth))
    return Quality(round(float(size_px), 1), blur, _degrees(yaw_deg), _degrees(pitch_deg), *shown)


def head_of(face: TrackedFace) -> Head | None:
    """Which way a face looks, where its landmarks were seen."""
    angles = [round(angle, 1) for angle in (face.yaw_deg, face.pitch_deg, face.roll_deg) if angle is not None]
    return Head(*angles) if len(angles) == 3 else None


def _degrees(value: float | None) -> float | None:
    return None if value is None else round(float(value), 1)
