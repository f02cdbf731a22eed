"""One followed face: what was observed of it, and the state that it is followed by."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from stream.faces.nets.regions import Region
from stream.faces.result import Box
from stream.faces.tracking.associate import Place
from stream.faces.tracking.motion import SPAN_S, MotionState, TrajectoryPoint, extrapolate


@dataclass(frozen=True, eq=False)
class Observation:
    """One face as the landmark net saw it.

    Attributes:
        points: ``(468, 3)`` float32 px.
        points5: ``(5, 2)`` float32 px, the crop's points.
        presence: 0..1.
        place: Centre and size.
        region: Where to look for it in the next frame.
        box: (x, y, width, height), px.
    """

    points: NDArray[np.float32]
    points5: NDArray[np.float32]
    presence: float
    place: Place
    region: Region
    box: Box


@dataclass(eq=False)
class Track:
    """One followed face.

    Attributes:
        number: Counts up from 1; the id is ``f<number>``.
        born: Index of the frame it was first seen in.
        motion: Where it is: until it is observed in a frame, a prediction.
        predicted: This frame's prediction, kept to undo an observation.
        score: Score of the last detection that confirmed it.
        confirmed_ns: When a detector last agreed with it.
        observation: What the landmark net saw in this frame; None where it saw no face.
        presence: The landmark net's last answer in this frame.
        misses: Detections in a row that did not agree with it.
        lost_ns: When it was given up; None while active.
        trajectory: Earlier observations.
    """

    number: int
    born: int
    motion: MotionState
    predicted: MotionState
    score: float
    confirmed_ns: int
    observation: Observation | None = None
    presence: float = 0.0
    misses: int = 0
    lost_ns: int | None = None
    trajectory: deque[TrajectoryPoint] = field(default_factory=lambda: deque(maxlen=100))

    @property
    def id(self) -> str:
        """The id that is published."""
        return f"f{self.number}"

    @property
    def place(self) -> Place:
        """Centre and size."""
        return self.motion.place

    def predict(self, dt: float, dx: float, dy: float) -> None:
        """Start a frame; see :meth:`MotionState.predicted`."""
        self.motion = self.predicted = self.motion.predicted(dt, dx, dy, self.observation is not None)
        self.observation, self.presence = None, 0.0

    def observe(self, observation: Observation, now_ns: int) -> None:
        """Take the landmarks of this frame."""
        self.motion = self.motion.observed(
            observation.place, observation.region, observation.box, now_ns, self.predicted.place
        )
        self.observation, self.presence = observation, observation.presence

    def discard_observation(self) -> None:
        """Give this frame's landmarks back: they belong to another face."""
        self.motion, self.observation = self.predicted, None

    def remember(self, camera_x: float, camera_y: float) -> None:
        """Add the last frame's observation, if there was one, to the trajectory.

        Args:
            camera_x: How far the picture has moved to the right since the start, px.
            camera_y: Likewise down.
        """
        if self.observation is None:
            return
        place = self.observation.place.shifted(-camera_x, -camera_y)
        region = self.observation.region.shifted(-camera_x, -camera_y)
        self.trajectory.append(TrajectoryPoint(self.motion.seen_ns, place, region))
        while self.motion.seen_ns - self.trajectory[0].t_ns > SPAN_S * 1e9:
            self.trajectory.popleft()

    def hide(self, now_ns: int, camera_x: float, camera_y: float) -> None:
        """On the first frame without the face, go back to the line that it followed before it was covered."""
        found = extrapolate(list(self.trajectory), now_ns)
        self.trajectory.clear()
        if found is None:
            return
        place = found.place.shifted(camera_x, camera_y)
        left, top, width, height = self.motion.box
        self.motion = MotionState(
            place=place,
            region=found.region.shifted(camera_x, camera_y),
            box=(left + place.x - self.place.x, top + place.y - self.place.y, width, height),
            seen_ns=self.motion.seen_ns,
            observed_ns=self.motion.observed_ns,
            vx=found.vx,
            vy=found.vy,
        )
