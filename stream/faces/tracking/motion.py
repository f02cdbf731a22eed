"""Where a face went that is no longer seen: a robust line through its last places.

The last places before a face is hidden are wrong: its landmarks are squeezed into the part that still shows, and slow
down with it. A median of slopes (Theil 1950, Sen 1968) stands up to a quarter of such places.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stream.faces.nets.regions import Region
from stream.faces.tracking.associate import Place

SPAN_S = 0.8
_POINTS = 14


@dataclass(frozen=True)
class Past:
    """One observation of a face.

    Attributes:
        t_ns: When.
        place: In coordinates that move with the camera.
        region: The landmark net's region, likewise.
    """

    t_ns: int
    place: Place
    region: Region


def extrapolate(past: Sequence[Past], t_ns: int) -> tuple[Past, float, float] | None:
    """Place a hidden face.

    Args:
        past: Its observations, oldest first.
        t_ns: Now.

    Returns:
        Where it should be now and its velocity (px/s, right and down); None with fewer than four observations. It is
        never placed further than its own size from where it was last seen.
    """
    recent = [p for p in past if t_ns - p.t_ns <= SPAN_S * 1.5e9]
    if len(recent) < 4:
        return None
    recent = recent[:: max(len(recent) // _POINTS, 1)]
    seconds = np.array([(p.t_ns - t_ns) / 1e9 for p in recent])
    places = np.array([(p.place.x, p.place.y) for p in recent])
    first, second = np.triu_indices(len(recent), 1)
    slopes = (places[second] - places[first]) / (seconds[second] - seconds[first])[:, None]
    vx, vy = np.median(slopes, axis=0).tolist()
    x, y = np.median(places - seconds[:, None] * [[vx, vy]], axis=0).tolist()
    size = float(np.median([p.place.size for p in recent]))
    last, middle = past[-1].place, recent[len(recent) // 2]
    step = float(np.hypot(x - last.x, y - last.y))
    if step > size:
        x, y = last.x + (x - last.x) * size / step, last.y + (y - last.y) * size / step
    region = middle.region.shifted(x - middle.place.x, y - middle.place.y)
    return Past(t_ns, Place(x, y, size), region), vx, vy
