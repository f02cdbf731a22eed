"""Who is meant: the driver, or the person in front of the robot."""

from __future__ import annotations

from collections.abc import Iterable

from stream.faces.result import Box

__all__ = ["Box", "primary_face"]


def primary_face(boxes: Iterable[tuple[str, Box]], roi: Box, width: int, height: int) -> str | None:
    """The largest face whose centre lies in the region of interest.

    Args:
        boxes: Face id and (x, y, w, h) in px of the frame.
        roi: (x, y, w, h) as shares of the frame, [0, 1].
        width: Of the frame, px.
        height: Of the frame, px.

    Returns:
        Its id, or None where no face is in the region. Equal sizes: the first.
    """
    left, top = roi[0] * width, roi[1] * height
    right, bottom = left + roi[2] * width, top + roi[3] * height
    best: tuple[float, str] | None = None
    for face_id, (x, y, w, h) in boxes:
        inside = left <= x + w / 2 <= right and top <= y + h / 2 <= bottom
        if inside and (best is None or w * h > best[0]):
            best = (w * h, face_id)
    return None if best is None else best[1]
