"""One frame with what was published about it: boxes, labels, bars, and whether to believe them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from stream.show.overlay.face_panel import compact_tag, draw_panel, panel_size
from stream.show.overlay.palette import BAD, DIM, INK, PANEL, UNDECIDED, WARN, Colour, colour_of
from stream.show.overlay.text import fill, panel, put_text, text_width
from stream.subscribe.meter import Measured

Rect = tuple[float, float, float, float]
"""x, y, width, height, px."""

_BANNERS = {
    "no_camera": "NO CAMERA",
    "stalled": "CAMERA STALLED",
    "frozen": "PICTURE FROZEN",
    "ended": "END OF FILE",
}


@dataclass(frozen=True)
class Style:
    """Sizes for one frame, px.

    Attributes:
        unit: Height of a capital letter.
        line: Width of a box's line.
        most_panels: How many faces get a panel of bars; the others get a tag.
    """

    unit: int
    line: int
    most_panels: int = 4

    @classmethod
    def of(cls, width: int, height: int) -> Style:
        """Sizes that read alike at 640×480 and at 1920×1080."""
        side = max(min(height / 480, width / 640), 0.4)
        return cls(unit=max(round(9 * side), 5), line=max(round(2 * side), 1))


def draw(
    image: NDArray[np.uint8], message: Mapping[str, Any], measured: Measured | None = None, style: Style | None = None
) -> NDArray[np.uint8]:
    """Draw a message onto its frame.

    Args:
        image: ``(H, W, 3)`` uint8 RGB; it is not changed.
        message: A decoded ``faces/`` body (schema 1). Missing keys are no error.
        measured: Rate and latency for the header.
        style: Sizes; by default from the frame's.

    Returns:
        ``(H, W, 3)`` uint8 RGB.
    """
    picture = np.array(image, np.uint8, copy=True, order="C")
    height, width = picture.shape[:2]
    style = style or Style.of(width, height)
    faces = [face for face in message.get("faces") or () if face.get("state") != "lost"]
    valid = bool(message.get("valid", True))
    boxes = [_rect(face) for face in faces]
    for face, box in zip(faces, boxes, strict=True):
        _draw_box(picture, face, box, style)

    header = style.unit * 2.6
    taken: list[Rect] = [(0.0, 0.0, float(width), header), *(box for box in boxes if box[2] > 0)]
    by_weight = sorted(range(len(faces)), key=lambda k: (not faces[k].get("primary"), -boxes[k][2] * boxes[k][3]))
    for rank, k in enumerate(by_weight):
        place = None
        if rank < style.most_panels:
            place = _place(boxes[k], panel_size(faces[k], style.unit), taken, width, height, len(faces) == 1)
        if place is not None:
            draw_panel(picture, faces[k], place, style.unit)
            taken.append(place)
        else:
            compact_tag(picture, faces[k], boxes[k], style.unit, top=header)
    _draw_header(picture, message, measured, len(faces), style)
    if not valid:
        _draw_banner(picture, str(message.get("reason", "invalid")), style)
    return picture


def box_colour(face: Mapping[str, Any]) -> Colour:
    """The held class's colour; light grey while there is none."""
    label = face.get("label")
    return colour_of(label) if isinstance(label, str) else UNDECIDED


def _rect(face: Mapping[str, Any]) -> Rect:
    box: Sequence[float] = face.get("box") or (0.0, 0.0, 0.0, 0.0)
    x, y, w, h = (float(value) for value in box)
    return (x, y, w, h) if np.isfinite((x, y, w, h)).all() else (0.0, 0.0, 0.0, 0.0)


def _draw_box(picture: NDArray[np.uint8], face: Mapping[str, Any], box: Rect, style: Style) -> None:
    """Corner brackets, joined by a thin frame while the face is seen; brackets alone while it is coasting."""
    x, y, w, h = box
    if w <= 0 or h <= 0:
        return
    colour = box_colour(face)
    # Far outside the picture OpenCV's fixed-point corners overflow.
    corners = np.clip(np.array([[x, y], [x + w, y + h]]), -8192, 8192).round().astype(int)
    (left, top), (right, bottom) = corners
    if face.get("state") in ("tracked", "new"):
        thin = max(style.line // 2, 1)
        for bx, by, bw, bh in ((x, y, w, thin), (x, y + h, w, thin), (x, y, thin, h), (x + w, y, thin, h)):
            fill(picture, bx, by, bw, bh, colour, 0.45)
    arm = int(max(min(w, h) * 0.18, 3))
    width = style.line + (1 if face.get("primary") else 0)
    for cx, sx in ((left, 1), (right, -1)):
        for cy, sy in ((top, 1), (bottom, -1)):
            bracket = np.array([[cx + sx * arm, cy], [cx, cy], [cx, cy + sy * arm]], np.int32)
            cv2.polylines(picture, [bracket], False, (0, 0, 0), width + 2, cv2.LINE_AA)
            cv2.polylines(picture, [bracket], False, colour, width, cv2.LINE_AA)


def _place(
    box: Rect, size: tuple[int, int], taken: Sequence[Rect], width: int, height: int, alone: bool
) -> Rect | None:
    """Where a face's panel goes: beside the box if there is room that nothing else needs, else nowhere."""
    x, y, w, h = box
    across, down = size
    gap = max(across * 0.06, 4.0)
    level = min(max(y, taken[0][3] + gap), height - down - gap)
    candidates = [
        (x + w + gap, level),
        (x - across - gap, level),
        (x + (w - across) / 2, y + h + gap),
        (x + (w - across) / 2, y - down - gap),
    ]
    for cx, cy in candidates:
        place = (cx, cy, float(across), float(down))
        inside = cx >= 0 and cy >= 0 and cx + across <= width and cy + down <= height
        if inside and not any(_overlap(place, other) for other in taken):
            return place
    if alone and across + 2 * gap <= width and down + 2 * gap <= height:
        # A face that fills the picture: its bars go into the corner that hides least of it.
        corner_x = gap if x + w / 2 > width / 2 else width - across - gap
        return (corner_x, height - down - gap, float(across), float(down))
    return None


def _overlap(a: Rect, b: Rect) -> bool:
    return a[0] < b[0] + b[2] and b[0] < a[0] + a[2] and a[1] < b[1] + b[3] and b[1] < a[1] + a[3]


def _draw_header(
    picture: NDArray[np.uint8], message: Mapping[str, Any], measured: Measured | None, faces: int, style: Style
) -> None:
    unit, width = style.unit, picture.shape[1]
    fill(picture, 0, 0, width, unit * 2.6, PANEL, 0.72)
    base = unit * 1.8
    x = unit * 0.9
    source = str(message.get("source") or "")
    model = (message.get("model") or {}).get("name")
    x += put_text(picture, source, (x, base), unit, INK, bold=True) + unit * 0.8
    right = width - unit * 0.9
    facts = [f"{faces} face" + ("" if faces == 1 else "s")]
    if measured is not None and measured.fps is not None:
        facts.append(f"{measured.fps:.0f} fps")
    latency = measured.latency_p50_ms if measured else (message.get("latency_ms") or {}).get("total")
    if latency is not None:
        facts.append(f"{latency:.0f} ms")
    dropped = measured.dropped if measured else message.get("dropped_total")
    if dropped:
        facts.append(f"{dropped} dropped")
    line = "   ".join(facts)
    room = right - text_width(line, unit)
    put_text(picture, line, (right, base), unit, INK, align="right")
    degraded = ", ".join(str(part) for part in message.get("degraded") or ())
    if degraded and x + text_width("degraded: " + degraded, unit) < room:
        x += put_text(picture, "degraded: " + degraded, (x, base), unit, WARN) + unit * 0.8
    if model and x + text_width(str(model), unit) < room:
        put_text(picture, str(model), (x, base), unit, DIM)


def _draw_banner(picture: NDArray[np.uint8], reason: str, style: Style) -> None:
    """A band that cannot be overlooked: these scores are of no live frame."""
    height, width = picture.shape[:2]
    grey = cv2.cvtColor(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    cv2.addWeighted(grey, 0.6, picture, 0.25, 0, dst=picture)
    size = round(style.unit * 1.9)
    text = _BANNERS.get(reason, reason.upper().replace("_", " "))
    across = min(text_width(text, size, bold=True) + size * 4, width)
    down = size * 2.6
    x, y = (width - across) / 2, height * 0.5 - down / 2
    panel(picture, x, y, across, down, size * 0.5, BAD, 0.92)
    put_text(picture, text, (width / 2, y + down / 2 + size * 0.5), size, INK, bold=True, align="centre")
