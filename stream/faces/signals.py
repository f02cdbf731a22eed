"""How far each eye and the mouth are open, from the landmarks of a face and the few pixels they point at.

The landmark net draws smooth lids: at best a ratio of their distances tells open from shut in 81 % of hand-labelled
eyes, its points together with a patch of 24 by 16 pixels in 98 % (``tests/scenes/openness.py`` measures it,
``openness_fit.py`` makes the weights). The eyes' net has one hidden layer; the mouth's, the mean of two, lays eight
kernels on its patch first: lips that lie a pixel elsewhere are lips all the same.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from stream.camera.pixels import Image, as_pixels
from stream.faces.pose import HeadPose

WEIGHTS = Path(__file__).parent / "openness.npz"
"""``eye_*`` and ``mouth_*``, float32, as :class:`_Net` names them; standardised by the weights themselves."""

MIN_SPAN_PX = 26.0
"""Distance of the outer eye corners under which nothing is said: a face of about 35 px."""
MAX_YAW_DEG = 30.0
"""Turn beyond which the eye that is turned away is not judged."""
MAX_NEAR_YAW_DEG = 55.0
"""Turn beyond which neither the near eye nor the mouth is."""
MAX_PITCH_DEG = 40.0
"""Nod, either way, beyond which lids and lips are foreshortened too much."""
MIN_PRESENCE = 0.9
"""Landmark presence under which nothing is said, whatever the tracker goes on with."""

LIPS_APART = 0.11
"""Value of ``Signals.mouth`` from which lips count as parted: the best on the labels of parts choose and learn.

Right on 96 % of 137 mouths and 94 % of 233 further ones; the wrong ones are parted by a hair, pressed with a shadow
between, or show teeth as bright as skin."""

# Outer corner first; the two lists mirror each other. Lids, crease, brow.
RIGHT_EYE = np.array((
    33, 246, 161, 160, 159, 158, 157, 173, 133, 155, 154, 153, 145, 144, 163, 7,
    247, 30, 29, 27, 28, 56, 190, 110, 24, 23, 22, 26, 112, 243, 70, 63, 105, 66, 107, 46, 53, 52, 65, 55,
))  # fmt: skip
LEFT_EYE = np.array((
    263, 466, 388, 387, 386, 385, 384, 398, 362, 382, 381, 380, 374, 373, 390, 249,
    467, 260, 259, 257, 258, 286, 414, 339, 254, 253, 252, 256, 341, 463, 300, 293, 334, 296, 336, 276, 283, 282, 295,
    285,
))  # fmt: skip
MOUTH = np.array((
    61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291, 146, 91, 181, 84, 17, 314, 405, 321, 375,
    78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308, 95, 88, 178, 87, 14, 317, 402, 318, 324, 1, 2, 152, 175, 199,
))  # fmt: skip

EYE_PATCH, MOUTH_PATCH = (24, 16), (28, 20)
"""Width and height, px."""
KERNEL, STRIDE = 5, 2
"""Side and step of the mouth's edge kernels, px of its patch."""
_CONTRAST_FLOOR = 8.0
"""Grey levels added to a patch's deviation, so that noise of an even one does not count."""


@dataclass(frozen=True)
class Part:
    """What of a face is looked at for one signal.

    Attributes:
        points: Its landmarks, the two corners among them.
        corners: Places in `points` of the corners that its centre lies between.
        patch: Width and height of its picture, px.
        width: Of that picture, over the distance of the outer eye corners.
        mirrored: Whether it is seen in a mirror, so that one net serves both eyes.
        inside: How many of the first points must lie in the frame.
    """

    points: NDArray[np.int64]
    corners: tuple[int, int]
    patch: tuple[int, int]
    width: float
    mirrored: bool
    inside: int


RIGHT, LEFT, MOUTH_PART = (
    Part(RIGHT_EYE, (0, 8), EYE_PATCH, 0.46, False, 16),
    Part(LEFT_EYE, (0, 8), EYE_PATCH, 0.46, True, 16),
    Part(MOUTH, (0, 10), MOUTH_PATCH, 0.9, False, 20),
)


@dataclass(frozen=True)
class Signals:
    """What a face shows beyond its expression; left and right are the person's own.

    Attributes:
        left_eye: Open 1, shut 0, even odds at 0.5; None where it cannot be judged.
        right_eye: Likewise.
        mouth: Gap between the lips over 0.6 of the distance of the outer eye corners, 0..1, apart from
            :data:`LIPS_APART`; None where it cannot be judged.
    """

    left_eye: float | None = None
    right_eye: float | None = None
    mouth: float | None = None


class _Net:
    """A net over :func:`features`, taken apart so that what is linear in them is done once, at loading.

    Args:
        part: Whose features.
        stored: Weights by name: ``shape (2 P, H)`` over the landmarks, ``hidden_bias (H,)``, ``out (H,)``, ``bias ()``;
            ``hidden (D, H)`` over the picture, or over edges in it: ``kernels (25, C)``, ``kernels_bias (C,)`` and
            ``hidden (N, E, H / N)`` of N nets whose mean is taken, each over its own share of the kernels.
    """

    def __init__(self, part: Part, stored: Mapping[str, NDArray[np.float32]]) -> None:
        shape = stored["shape"].reshape(len(part.points), 2, -1).copy()
        if part.mirrored:
            shape[:, 0] *= -1
        shape[list(part.corners)] -= shape.sum(0) / 2
        self._shape = shape.reshape(2 * len(part.points), -1)
        self._bias, self._out, self._out_bias = stored["hidden_bias"], stored["out"], float(stored["bias"])
        self._hidden, self._kernels = stored["hidden"], stored.get("kernels")
        self._over = self._hidden if self._kernels is None else self._kernels
        self._sum = self._over.sum(0)
        if self._kernels is not None:
            self._kernels_bias, self._windows = stored["kernels_bias"], _windows(part.patch)

    def __call__(self, points: NDArray[np.float32], patch: NDArray[np.uint8]) -> float:
        mean, deviation = cv2.meanStdDev(patch)
        grey = patch.ravel().astype(np.float32)
        seen = (grey if self._kernels is None else grey.take(self._windows)) @ self._over
        seen -= self._sum * np.float32(mean[0, 0])
        seen /= np.float32(deviation[0, 0] + _CONTRAST_FLOOR)
        if self._kernels is not None:
            seen += self._kernels_bias
            edges = np.maximum(seen, 0, out=seen)
            nets, each = len(self._hidden), seen.shape[1] // len(self._hidden)
            seen = np.concatenate(
                [edges[:, net * each : (net + 1) * each].ravel() @ self._hidden[net] for net in range(nets)]
            )
        seen += points.ravel() @ self._shape
        seen += self._bias
        return float(np.maximum(seen, 0, out=seen) @ self._out) + self._out_bias


def _windows(patch: tuple[int, int]) -> NDArray[np.int64]:
    """``(E, 25)``: which pixels each kernel is laid on, row by row."""
    width, height = patch
    places = np.lib.stride_tricks.sliding_window_view(
        np.arange(width * height).reshape(height, width), (KERNEL, KERNEL)
    )
    return np.ascontiguousarray(places[::STRIDE, ::STRIDE].reshape(-1, KERNEL * KERNEL))


class SignalReader:
    """Reads the signals of faces; one for any number of them, it remembers nothing."""

    def __init__(self) -> None:
        with np.load(WEIGHTS, allow_pickle=False) as stored:
            eye, mouth = (
                {key.removeprefix(name): stored[key] for key in stored if key.startswith(name)}
                for name in ("eye_", "mouth_")
            )
        self._right, self._left, self._mouth = _Net(RIGHT, eye), _Net(LEFT, eye), _Net(MOUTH_PART, mouth)

    def read(self, image: Image, points: NDArray[np.floating], pose: HeadPose, presence: float) -> Signals:
        """The signals of one face.

        Args:
            image: The frame, RGB or planes.
            points: ``(468, 2)`` or ``(468, 3)`` px, FaceMesh order, found in this frame.
            pose: The head's, from the same points.
            presence: The landmark net's, 0..1.
        """
        wide = abs(pose.yaw_deg) > MAX_NEAR_YAW_DEG or abs(pose.pitch_deg) > MAX_PITCH_DEG
        if presence < MIN_PRESENCE or wide:
            return Signals()
        xy = np.asarray(points[:, :2], np.float32)
        axes = face_axes(xy)
        if not axes.span_px >= MIN_SPAN_PX:
            return Signals()

        def value(part: Part, net: _Net) -> float | None:
            there = xy[part.points]
            if not _inside(there[: part.inside], image):
                return None
            found = net(there @ axes.in_spans, cut(image, there, axes, part))
            return min(max(found, 0.0), 1.0)

        # A face that turns to the image's right shows the person's right eye, which lies left in the image.
        return Signals(
            left_eye=value(LEFT, self._left) if pose.yaw_deg < MAX_YAW_DEG else None,
            right_eye=value(RIGHT, self._right) if pose.yaw_deg > -MAX_YAW_DEG else None,
            mouth=value(MOUTH_PART, self._mouth),
        )


@dataclass(frozen=True, eq=False)
class FaceAxes:
    """A face's own frame in the image: where patches are cut and points are measured.

    Attributes:
        across: Unit vector along the eyes' line, x and y; down the face it is ``(-y, x)``.
        span_px: Distance of the outer eye corners in the image, px.
        in_spans: ``(2, 2)``: px of the image times this are spans along the two axes.
    """

    across: tuple[float, float]
    span_px: float
    in_spans: NDArray[np.float32]


def face_axes(xy: NDArray[np.float32]) -> FaceAxes:
    """The frame of ``(468, 2)`` landmarks, px."""
    dx, dy = (xy[263] - xy[33]).tolist()
    span = math.hypot(dx, dy)
    x, y = (dx / span, dy / span) if span > 0 else (1.0, 0.0)
    scale = span or 1.0
    return FaceAxes((x, y), span, np.array([[x / scale, -y / scale], [y / scale, x / scale]], np.float32))


def features(image: Image, xy: NDArray[np.float32], axes: FaceAxes, part: Part) -> NDArray[np.float32]:
    """``(F,)``: a part's landmarks in spans from its centre, then its grey values, standardised: what nets learn from.

    An eye has 80 and 384, the mouth 90 and 560.
    """
    there = xy[part.points]
    shape = (there - there[list(part.corners)].mean(0)) @ axes.in_spans
    if part.mirrored:
        shape[:, 0] *= -1
    grey = cut(image, there, axes, part).astype(np.float32).ravel()
    return np.concatenate([shape.ravel(), (grey - grey.mean()) / (grey.std() + _CONTRAST_FLOOR)])


def cut(image: Image, points: NDArray[np.float32], axes: FaceAxes, part: Part) -> NDArray[np.uint8]:
    """``(H, W)``: a part's picture, upright; green stands for grey, as in quality.py."""
    (ax, ay), (bx, by) = points[part.corners[0]].tolist(), points[part.corners[1]].tolist()
    width, height = part.patch
    step = part.width * axes.span_px / width
    # A camera averages over a pixel: a large face is sampled finer and then averaged.
    fine = min(max(round(step), 1), 4)
    step /= fine
    x, y = axes.across
    # Columns run along the eyes' line, against it where the part is mirrored; rows down the face.
    ux, uy = (-x * step, -y * step) if part.mirrored else (x * step, y * step)
    vx, vy = -y * step, x * step
    mx, my = (width * fine - 1) / 2, (height * fine - 1) / 2
    matrix = np.array([[ux, vx, (ax + bx) / 2 - mx * ux - my * vx], [uy, vy, (ay + by) / 2 - mx * uy - my * vy]])
    size = (width * fine, height * fine)
    found = as_pixels(image).warp(matrix, size, cv2.BORDER_REPLICATE)
    green = cv2.extractChannel(found, 1)
    return np.asarray(green if fine == 1 else cv2.resize(green, part.patch, interpolation=cv2.INTER_AREA), np.uint8)


def _inside(points: NDArray[np.float32], image: Image) -> bool:
    (left, top), (right, bottom) = points.min(0).tolist(), points.max(0).tolist()
    return bool(left >= 0 and top >= 0 and right < image.shape[1] and bottom < image.shape[0])
