"""How a face moves: constant velocity from frame to frame, a robust line through its trajectory while it is hidden.

The last places before a face is hidden are wrong: its landmarks are squeezed into the part that still shows, and slow
down with it. A median of slopes (Theil 1950, Sen 1968) stands up to a quarter of such places.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from stream.faces.nets.regions import Region
from stream.faces.result import Box
from stream.faces.tracking.associate import Place

SPAN_S = 0.8
"""How much of a trajectory the line goes through: no id is lost on the twelve scripted scenes, where the last velocity
alone lost one behind a pillar (2026-11-21)."""
_POINTS = 14
_VELOCITY_S = 0.05
"""Time constant of the velocity estimate."""
_DAMPING_S = 0.7
"""An unseen face is assumed to slow down with this time constant."""


@dataclass(frozen=True)
class MotionState:
    """Where a face is and how it moves: as observed, or as predicted for this frame.

    Attributes:
        place: Centre and size.
        region: Where the landmark net looks.
        box: (x, y, width, height), px.
        seen_ns: When its landmarks were last seen.
        observed_ns: When landmarks or a detector last saw it.
        vx: Velocity relative to the camera's motion, px/s to the right.
        vy: Likewise down.
    """

    place: Place
    region: Region
    box: Box
    seen_ns: int
    observed_ns: int
    vx: float = 0.0
    vy: float = 0.0

    @property
    def speed(self) -> float:
        """How fast it moves, its own sizes per second."""
        return math.hypot(self.vx, self.vy) / self.place.size

    def predicted(self, dt: float, dx: float, dy: float, seen: bool) -> MotionState:
        """The state one frame later.

        Args:
            dt: Time since the last frame, s.
            dx: Camera motion since then, px to the right.
            dy: Likewise, px down.
            seen: Whether the face was seen in the last frame.
        """
        # Over a gap the velocity decays; integrated over dt it moves the face by this much.
        travel = min(dt, 0.5) if seen else _DAMPING_S * (1 - math.exp(-dt / _DAMPING_S))
        decay = 1.0 if seen else math.exp(-dt / _DAMPING_S)
        mx, my = dx + self.vx * travel, dy + self.vy * travel
        x, y, width, height = self.box
        return replace(
            self,
            place=self.place.shifted(mx, my),
            region=self.region.shifted(mx, my),
            box=(x + mx, y + my, width, height),
            vx=self.vx * decay,
            vy=self.vy * decay,
        )

    def observed(self, place: Place, region: Region, box: Box, now_ns: int, predicted: Place) -> MotionState:
        """The state after landmarks were seen at a place, where one at constant velocity was predicted."""
        vx, vy = self.vx, self.vy
        elapsed = (now_ns - self.seen_ns) / 1e9
        if elapsed > 0:
            # What the prediction missed corrects the velocity.
            blend = 1 - math.exp(-elapsed / _VELOCITY_S)
            vx += blend * (place.x - predicted.x) / elapsed
            vy += blend * (place.y - predicted.y) / elapsed
        return MotionState(place, region, box, now_ns, now_ns, vx, vy)


@dataclass(frozen=True)
class TrajectoryPoint:
    """One observation of a face, in coordinates that move with the camera.

    Attributes:
        t_ns: When.
        place: Centre and size.
        region: The landmark net's region.
    """

    t_ns: int
    place: Place
    region: Region


@dataclass(frozen=True)
class Extrapolation:
    """Where a hidden face should be, in the trajectory's coordinates.

    Attributes:
        place: Centre and size.
        region: The landmark net's region.
        vx: Velocity, px/s to the right.
        vy: Likewise down.
    """

    place: Place
    region: Region
    vx: float
    vy: float


def extrapolate(trajectory: Sequence[TrajectoryPoint], t_ns: int) -> Extrapolation | None:
    """Place a hidden face.

    Args:
        trajectory: Its observations, oldest first.
        t_ns: Now.

    Returns:
        Where it should be now; None with fewer than four observations. It is never placed further than its own size
        from where it was last seen.
    """
    recent = [p for p in trajectory if t_ns - p.t_ns <= SPAN_S * 1.5e9]
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
    last, middle = trajectory[-1].place, recent[len(recent) // 2]
    step = float(np.hypot(x - last.x, y - last.y))
    if step > size:
        x, y = last.x + (x - last.x) * size / step, last.y + (y - last.y) * size / step
    region = middle.region.shifted(x - middle.place.x, y - middle.place.y)
    return Extrapolation(Place(x, y, size), region, vx, vy)
