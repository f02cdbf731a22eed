"""Faces drawn from parameters: who (identity), what the face does (movement), how it is held and lit (pose).

A movement has nine components, each about one facial action, in [-1, 1] at full strength; the classes' movements follow
the action units that DK-CLIP's Table 1 lists for them.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

MOVEMENTS = (
    "brow_raise_inner", "brow_raise_outer", "brow_lower", "lid_raise", "nose_wrinkle",
    "lip_corner", "lip_stretch", "mouth_open", "lip_press",
)  # fmt: skip
"""Names of a movement's components: AU1, AU2, AU4, AU5 (below 0 AU6/7), AU9, AU12 (below 0 AU15), AU20, AU25, AU24."""

EXPRESSIONS: dict[str, NDArray[np.float64]] = {
    "happiness": np.array([0.0, 0.0, 0.0, -0.6, 0.0, 1.0, 0.4, 0.4, 0.0]),
    "sadness": np.array([0.9, -0.2, 0.4, -0.3, 0.0, -0.9, 0.0, 0.0, 0.2]),
    "neutral": np.zeros(9),
    "anger": np.array([-0.2, 0.0, 1.0, -0.2, 0.1, -0.3, 0.0, 0.0, 1.0]),
    "surprise": np.array([0.9, 0.9, 0.0, 0.8, 0.0, 0.0, -0.4, 1.0, 0.0]),
    "disgust": np.array([-0.1, 0.0, 0.6, -0.7, 1.0, -0.5, 0.0, 0.3, 0.0]),
    "fear": np.array([0.9, 0.3, 0.5, 1.0, 0.0, -0.2, 0.9, 0.4, 0.0]),
}


@dataclass(frozen=True)
class Identity:
    """Who: proportions (1 is average) and colours (RGB, 0–255) of a face."""

    width: float
    height: float
    eye_distance: float
    eye_size: float
    eye_height: float
    brow_thickness: float
    nose_length: float
    mouth_width: float
    mouth_height: float
    skin: tuple[float, float, float]
    hair: tuple[float, float, float]
    lips: tuple[float, float, float]
    iris: tuple[float, float, float]
    fringe: float
    rest: tuple[float, ...]


@dataclass(frozen=True)
class Pose:
    """How the face is held and lit in one frame: shift in parts of the side, roll in degrees, scale, gain."""

    x: float
    y: float
    roll: float
    scale: float
    gain: float
    background: tuple[float, float, float]

    def step(self, rng: np.random.Generator) -> Pose:
        """The pose one frame later: a small random walk."""
        return dataclasses.replace(
            self,
            x=float(np.clip(self.x + rng.normal(0, 0.006), -0.06, 0.06)),
            y=float(np.clip(self.y + rng.normal(0, 0.006), -0.06, 0.06)),
            roll=float(np.clip(self.roll + rng.normal(0, 1.0), -12, 12)),
            gain=float(np.clip(self.gain + rng.normal(0, 0.01), 0.6, 1.2)),
        )


def random_pose(rng: np.random.Generator) -> Pose:
    """A pose to start from."""
    background = rng.uniform(20, 235, 3)
    return Pose(
        x=float(rng.uniform(-0.04, 0.04)),
        y=float(rng.uniform(-0.04, 0.04)),
        roll=float(rng.normal(0, 4)),
        scale=float(rng.uniform(0.92, 1.08)),
        gain=float(rng.uniform(0.7, 1.15)),
        background=(float(background[0]), float(background[1]), float(background[2])),
    )


def draw_identity(number: int) -> Identity:
    """The face of a number: the same number is the same face in every set."""
    rng = np.random.default_rng([77, number])
    proportions = rng.normal(1.0, 0.08, 9).clip(0.78, 1.22)
    tone = rng.uniform(0.25, 1.0)
    skin = np.array([232, 186, 152]) * tone + rng.normal(0, 6, 3)
    hair = rng.choice(np.array([[35, 25, 20], [90, 60, 35], [180, 150, 90], [150, 150, 155], [110, 45, 25]]))
    lips = skin * np.array([0.95, 0.6, 0.6])
    iris = rng.choice(np.array([[70, 45, 25], [70, 110, 160], [80, 120, 80]]))
    names = [f.name for f in dataclasses.fields(Identity)][:9]
    return Identity(
        **{name: float(v) for name, v in zip(names, proportions, strict=True)},
        skin=_colour(skin),
        hair=_colour(hair + rng.normal(0, 8, 3)),
        lips=_colour(lips),
        iris=_colour(iris),
        fringe=float(rng.uniform(0, 1)),
        # Nobody's resting face is the average one.
        rest=tuple(float(v) for v in rng.normal(0, 0.08, 9)),
    )


def random_blend(rng: np.random.Generator) -> NDArray[np.float64]:
    """A movement between two different classes, neither of which has the upper hand."""
    names = [name for name in EXPRESSIONS if name != "neutral"]
    first, second = rng.choice(len(names), 2, replace=False)
    share = rng.uniform(0.4, 0.6)
    return (EXPRESSIONS[names[first]] * share + EXPRESSIONS[names[second]] * (1 - share)) * rng.uniform(0.7, 1.0)


def draw_face(identity: Identity, movement: NDArray[np.float64], pose: Pose, size_px: int) -> NDArray[np.uint8]:
    """Draw one frame.

    Args:
        identity: Who.
        movement: ``(9,)``, components as in :data:`MOVEMENTS`.
        pose: How it is held and lit.
        size_px: Side of the image.

    Returns:
        ``(size_px, size_px, 3)`` uint8 RGB, laid out as the aligned crop: eyes at 36 % of the height.
    """
    side = size_px * 4
    canvas = np.empty((side, side, 3), np.float32)
    canvas[:] = pose.background
    pen = _Pen(canvas, pose)
    inner, outer, lower, lid, wrinkle, corner, stretch, opened, press = movement + np.array(identity.rest)
    who = identity

    pen.ellipse(0.0, -0.12, 0.36 * who.width, 0.42 * who.height, who.hair)
    pen.ellipse(0.0, 0.02, 0.33 * who.width, 0.43 * who.height, who.skin)
    pen.ellipse(0.0, -0.40, 0.30 * who.width, 0.05 + 0.06 * who.fringe, who.hair)
    shade = tuple(0.72 * c for c in who.skin)
    eye_y = -0.13 * who.eye_height
    for sign in (-1.0, 1.0):
        eye_x = sign * 0.155 * who.eye_distance
        aperture = 0.034 * who.eye_size * float(np.clip(1 + 0.75 * lid - 0.25 * lower, 0.15, 2.0))
        pen.ellipse(eye_x, eye_y, 0.062 * who.eye_size, aperture, (245, 245, 245))
        pen.ellipse(eye_x, eye_y, min(0.027, aperture), min(0.027, aperture), who.iris)
        pen.ellipse(eye_x, eye_y, min(0.013, aperture), min(0.013, aperture), (10, 10, 10))
        brow_y = eye_y - 0.085
        inner_end = (eye_x - sign * (0.075 - 0.02 * lower), brow_y - 0.045 * inner + 0.045 * lower)
        outer_end = (eye_x + sign * 0.075, brow_y - 0.045 * outer + 0.012)
        middle = (eye_x, brow_y - 0.018 - 0.035 * (inner + outer) / 2 + 0.02 * lower)
        pen.line([inner_end, middle, outer_end], 0.020 * who.brow_thickness, who.hair)
        # Wrinkles beside the nose and the fold that a raised cheek makes under the eye.
        if wrinkle > 0.2:
            for row in range(3):
                y = -0.05 + 0.03 * row
                pen.line([(sign * 0.02, y), (sign * 0.06, y - 0.02)], 0.010 * wrinkle, shade)
        if corner > 0.2:
            pen.line([(sign * 0.10, 0.10), (sign * (0.17 + 0.02 * corner), 0.17)], 0.012 * corner, shade)
    nose_y = 0.06 * who.nose_length - 0.02 * wrinkle
    pen.line([(0.0, -0.08), (0.012, nose_y), (-0.03, nose_y + 0.012)], 0.012, shade)
    if wrinkle > 0.2:
        pen.line([(-0.05, nose_y - 0.01), (0.05, nose_y - 0.01)], 0.010, shade)
    _draw_mouth(pen, who, corner, stretch, opened, press)

    image = cv2.resize(np.clip(canvas * pose.gain, 0, 255), (size_px, size_px), interpolation=cv2.INTER_AREA)
    return np.asarray(image, np.float32).round().astype(np.uint8)


def _draw_mouth(pen: _Pen, who: Identity, corner: float, stretch: float, opened: float, press: float) -> None:
    y = 0.22 * who.mouth_height
    half = 0.105 * who.mouth_width * (1 + 0.25 * corner * (corner > 0) + 0.35 * stretch - 0.1 * opened)
    ends_y = y - 0.05 * corner
    gap = 0.075 * max(opened, 0.0)
    thick = 0.022 * float(np.clip(1 - 0.75 * press, 0.2, 1.2))
    top = [(-half, ends_y), (0.0, y - gap * 0.5 + 0.012 * corner), (half, ends_y)]
    bottom = [(-half, ends_y), (0.0, y + gap + 0.02 * corner), (half, ends_y)]
    if gap > 0.008:
        pen.polygon(top, bottom, (60, 20, 25))
    pen.line(top, thick, who.lips)
    pen.line(bottom, thick, who.lips)


class _Pen:
    """Draws in face coordinates: origin in the middle, 1 is the side of the image, y down."""

    def __init__(self, canvas: NDArray[np.float32], pose: Pose) -> None:
        self.canvas, self.roll = canvas, pose.roll
        angle = np.deg2rad(pose.roll)
        self.scale = canvas.shape[0] * pose.scale
        self.matrix = self.scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        self.origin = canvas.shape[0] * np.array([0.5 + pose.x, 0.5 + pose.y])

    def _points(self, points: list[tuple[float, float]]) -> NDArray[np.int32]:
        # A quadratic curve through three points, straight lines else; 4 fractional bits for cv2.
        array = np.array(points)
        if len(points) == 3:
            t = np.linspace(0, 1, 12)[:, None]
            control = 2 * array[1] - (array[0] + array[2]) / 2
            array = (1 - t) ** 2 * array[0] + 2 * t * (1 - t) * control + t**2 * array[2]
        return np.asarray(np.round((array @ self.matrix.T + self.origin) * 16), np.int32)

    def ellipse(self, x: float, y: float, rx: float, ry: float, colour: tuple[float, ...]) -> None:
        centre = self._points([(x, y)])[0]
        axes = (int(max(rx, 0.002) * self.scale * 16), int(max(ry, 0.002) * self.scale * 16))
        cv2.ellipse(self.canvas, (int(centre[0]), int(centre[1])), axes, self.roll, 0, 360, colour, -1, cv2.LINE_8, 4)

    def line(self, points: list[tuple[float, float]], thickness: float, colour: tuple[float, ...]) -> None:
        width = max(1, int(round(thickness * self.scale)))
        cv2.polylines(self.canvas, [self._points(points)], False, colour, width, cv2.LINE_8, 4)

    def polygon(
        self, top: list[tuple[float, float]], bottom: list[tuple[float, float]], colour: tuple[float, ...]
    ) -> None:
        outline = np.concatenate([self._points(top), self._points(bottom)[::-1]])
        cv2.fillPoly(self.canvas, [outline], colour, cv2.LINE_8, 4)


def _colour(values: NDArray[np.floating]) -> tuple[float, float, float]:
    clipped = np.clip(values, 0, 255)
    return float(clipped[0]), float(clipped[1]), float(clipped[2])
