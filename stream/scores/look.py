"""How good a look at a face a frame gives, as the message says it."""

from __future__ import annotations

from stream.publish.message import Quality

BLURRED = 3.5
"""Sharpness under which a face looks blurred (stream.faces.quality)."""


def describe(size_px: float, sharpness: float | None, yaw_deg: float | None, pitch_deg: float | None) -> Quality:
    """What the message says of a look; ``blur`` is one half where a face begins to look blurred.

    Args:
        size_px: Side of the face in the frame.
        sharpness: As :func:`stream.faces.quality.sharpness` has it; None for what was not seen.
        yaw_deg: Turn of the head; likewise.
        pitch_deg: Nod of the head; likewise.
    """
    blur = None if sharpness is None else round(BLURRED / (BLURRED + max(sharpness, 0.0)), 3)
    return Quality(round(float(size_px), 1), blur, _degrees(yaw_deg), _degrees(pitch_deg))


def _degrees(value: float | None) -> float | None:
    return None if value is None else round(float(value), 1)
