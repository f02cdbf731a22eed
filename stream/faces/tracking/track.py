"""One followed face: what was observed of it, and the state that it is followed by."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from stream.faces.nets.regions import Region
from stream.faces.result import Box
from stream.faces.signals import Signals
from stream.faces.tracking.associate import Place
from stream.faces.tracking.motion import SPAN_S, MotionState, TrajectoryPoint, extrapolate
from stream.faces.tracking.template import Alignment, Template

_LOST = 0.15
"""Residual of an alignment beyond which it found something else than the face."""
_ALIKE = 0.2
"""Residual of the worst block up to which no lid and no lip moved."""


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

    def moved(self, motion: Alignment) -> Observation:
        """The same face a moment later, shifted, turned and grown."""
        ratio, centre = motion.ratio, complex(self.region.x, self.region.y)
        scale, shift = abs(ratio), motion.centre - ratio * centre
        turn = np.array([[ratio.real, -ratio.imag], [ratio.imag, ratio.real]], np.float32).T
        offset = np.array([shift.real, shift.imag], np.float32)
        points = self.points * np.float32(scale)
        points[:, :2] = self.points[:, :2] @ turn + offset
        x, y, width, height = self.box
        middle = ratio * complex(x + width / 2, y + height / 2) + shift
        place = ratio * complex(self.place.x, self.place.y) + shift
        width, height = width * scale, height * scale
        return Observation(
            points,
            self.points5 @ turn + offset,
            self.presence,
            Place(place.real, place.imag, self.place.size * scale),
            self.region.aligned(ratio, motion.centre),
            (middle.real - width / 2, middle.imag - height / 2, width, height),
        )


@dataclass(frozen=True, eq=False)
class Look:
    """A run of the landmark net on one face, from which its landmarks are moved on.

    Attributes:
        observation: What it saw.
        template: How the face looked.
        t_ns: When.
    """

    observation: Observation
    template: Template
    t_ns: int


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
        look: The landmark net's last run on it, from which its landmarks are moved on; None where it must look anew.
        alignment: How the face moved since then, found in this frame.
        sharpness: Measured when the face last changed, or was looked at.
        signals: Likewise.
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
    look: Look | None = None
    alignment: Alignment | None = None
    sharpness: float | None = None
    signals: Signals | None = None

    @property
    def id(self) -> str:
        """The id that is published."""
        return f"f{self.number}"

    def changed(self, now_ns: int) -> bool:
        """Whether it looks other than at the last look, or was looked at in this frame."""
        return self.look is None or self.look.t_ns == now_ns or self.alignment is None or self.alignment.worst > _ALIKE

    @property
    def place(self) -> Place:
        """Centre and size."""
        return self.motion.place

    def predict(self, dt: float, dx: float, dy: float) -> None:
        """Start a frame; see :meth:`MotionState.predicted`."""
        self.motion = self.predicted = self.motion.predicted(dt, dx, dy, self.observation is not None)
        self.observation, self.alignment, self.presence = None, None, 0.0

    @property
    def expected_region(self) -> Region:
        """Where the landmark net looks: as far as the face was found, where it was found."""
        region, found = self.motion.region, self.alignment
        if found is None or self.look is None or found.residual > _LOST:
            return region
        return self.look.observation.region.aligned(found.ratio, found.centre)

    def observe(self, observation: Observation, now_ns: int) -> None:
        """Take the landmarks of this frame."""
        self.motion = self.motion.observed(
            observation.place, observation.region, observation.box, now_ns, self.predicted.place
        )
        self.observation, self.presence = observation, observation.presence

    def discard_observation(self) -> None:
        """Give this frame's landmarks back: they belong to another face."""
        self.motion, self.observation, self.look = self.predicted, None, None

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
