"""How far each eye and the mouth are open, from the landmarks of a face and the few pixels they point at.

The landmark net draws smooth lids: at best a ratio of their distances tells open from shut in 81 % of hand-labelled
eyes, its points together with a patch of 24 by 16 pixels in 98 % (``tests/scenes/openness.py`` measures it, and makes
the weights). Each of the two small nets has one hidden layer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from stream.camera.pixels import Image, as_pixels
from stream.faces.pose import HeadPose

WEIGHTS = Path(__file__).parent / "openness.npz"
"""``eye_*`` and ``mouth_*``: hidden ``(F, H)``, hidden bias ``(H,)``, out ``(H,)``, out bias, float32; F features,
standardised by the weights themselves, and H of 16 and, for the mouth, the mean of three nets of 24."""

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

LIPS_APART = 0.12
"""Value of ``Signals.mouth`` from which lips count as parted: the best on the labels set apart for choosing.

Right on 94 % of unseen mouths; the wrong ones are parted by a hair, pressed with a shadow between, or show teeth as
bright as skin."""

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
_OUTER = np.array((33, 263))

EYE_PATCH, MOUTH_PATCH = (24, 16), (28, 20)
"""Width and height, px."""
_EYE_WIDTH, _MOUTH_WIDTH = 0.46, 0.9
# Widths of the patches over the distance of the outer eye corners.


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


@dataclass(frozen=True, eq=False)
class _Net:
    hidden: NDArray[np.float32]
    hidden_bias: NDArray[np.float32]
    out: NDArray[np.float32]
    out_bias: float

    def __call__(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """``(N,)`` from ``(N, F)``."""
        return np.asarray(np.maximum(features @ self.hidden + self.hidden_bias, 0) @ self.out + self.out_bias)


class SignalReader:
    """Reads the signals of faces; one for any number of them, it remembers nothing."""

    def __init__(self) -> None:
        with np.load(WEIGHTS, allow_pickle=False) as stored:
            self._eye, self._mouth = (
                _Net(stored[f"{n}_hidden"], stored[f"{n}_hidden_bias"], stored[f"{n}_out"], float(stored[f"{n}_bias"]))
                for n in ("eye", "mouth")
            )

    def read(self, image: Image, points: NDArray[np.floating], pose: HeadPose, presence: float) -> Signals:
        """The signals of one face.

        Args:
            image: The frame, RGB or planes.
            points: ``(468, 2)`` or ``(468, 3)`` px, FaceMesh order, found in this frame.
            pose: The head's, from the same points.
            presence: The landmark net's, 0..1.
        """
        xy = np.asarray(points[:, :2], np.float32)
        axes = face_axes(xy)
        wide = abs(pose.yaw_deg) > MAX_NEAR_YAW_DEG or abs(pose.pitch_deg) > MAX_PITCH_DEG
        if presence < MIN_PRESENCE or wide or not axes.span_px >= MIN_SPAN_PX:
            return Signals()
        height, width = image.shape[:2]
        # A face that turns to the image's right shows the person's right eye, which lies left in the image.
        right = pose.yaw_deg > -MAX_YAW_DEG and _inside(xy[RIGHT_EYE[:16]], width, height)
        left = pose.yaw_deg < MAX_YAW_DEG and _inside(xy[LEFT_EYE[:16]], width, height)
        mouth = _inside(xy[MOUTH[:20]], width, height)
        eyes = self._eye(np.stack([eye_features(image, xy, axes, False), eye_features(image, xy, axes, True)]))
        opened = np.clip(eyes, 0, 1).tolist()
        return Signals(
            left_eye=opened[1] if left else None,
            right_eye=opened[0] if right else None,
            mouth=min(max(float(self._mouth(mouth_features(image, xy, axes)[None])[0]), 0.0), 1.0) if mouth else None,
        )


@dataclass(frozen=True, eq=False)
class FaceAxes:
    """A face's own frame in the image: where patches are cut and points are measured.

    Attributes:
        turn: ``(2, 2)`` rows: unit vectors along the eyes' line and down the face.
        span_px: Distance of the outer eye corners in the image, px.
    """

    turn: NDArray[np.float32]
    span_px: float


def face_axes(xy: NDArray[np.float32]) -> FaceAxes:
    """The frame of ``(468, 2)`` landmarks, px."""
    dx, dy = (xy[263] - xy[33]).tolist()
    span = math.hypot(dx, dy)
    x, y = (dx / span, dy / span) if span > 0 else (1.0, 0.0)
    return FaceAxes(np.array([[x, y], [-y, x]], np.float32), span)


def eye_features(image: Image, xy: NDArray[np.float32], axes: FaceAxes, left: bool) -> NDArray[np.float32]:
    """``(80 + 384,)``: an eye's landmarks in spans, then its grey values, standardised; a left eye is mirrored."""
    points = xy[LEFT_EYE if left else RIGHT_EYE]
    centre = (points[0] + points[8]) / 2
    turn = axes.turn * np.array([[-1.0], [1.0]], np.float32) if left else axes.turn
    return _features(image, points, centre, turn, axes.span_px, EYE_PATCH, _EYE_WIDTH)


def mouth_features(image: Image, xy: NDArray[np.float32], axes: FaceAxes) -> NDArray[np.float32]:
    """``(90 + 560,)``: the mouth's landmarks in spans, then its grey values, standardised."""
    points = xy[MOUTH]
    centre = (points[0] + points[10]) / 2
    return _features(image, points, centre, axes.turn, axes.span_px, MOUTH_PATCH, _MOUTH_WIDTH)


def _features(
    image: Image,
    points: NDArray[np.float32],
    centre: NDArray[np.float32],
    turn: NDArray[np.float32],
    span_px: float,
    patch: tuple[int, int],
    share: float,
) -> NDArray[np.float32]:
    shape = (points - centre) @ turn.T / span_px
    width, height = patch
    step = share * span_px / width
    # A camera averages over a pixel: a large face is sampled finer and then averaged.
    fine = min(max(round(step), 1), 4)
    (ux, uy), (vx, vy) = (turn * (step / fine)).tolist()
    mx, my = (width * fine - 1) / 2, (height * fine - 1) / 2
    cx, cy = centre.tolist()
    matrix = np.array([[ux, vx, cx - mx * ux - my * vx], [uy, vy, cy - mx * uy - my * vy]])
    cut = as_pixels(image).warp(matrix, (width * fine, height * fine), cv2.BORDER_REPLICATE)
    if fine > 1:
        cut = np.asarray(cv2.resize(cut, patch, interpolation=cv2.INTER_AREA), np.uint8)
    grey = cut[:, :, 1].astype(np.float32).ravel()  # green stands for grey, as in quality.py
    grey -= grey.mean()
    grey /= math.sqrt(float(grey @ grey) / grey.size) + 8.0
    return np.concatenate([shape.ravel(), grey])


def _inside(points: NDArray[np.float32], width: int, height: int) -> bool:
    low, high = points.min(0).tolist(), points.max(0).tolist()
    return bool(low[0] >= 0 and low[1] >= 0 and high[0] < width and high[1] < height)
