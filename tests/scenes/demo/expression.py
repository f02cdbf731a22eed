"""Expressions as target positions of the portrait's own landmarks.

A pose says where the lips, lids, brows, cheeks and jaw go; a thin-plate spline (Bookstein, IEEE TPAMI
11(6), 1989) carries the displacement of these handles to the skin between them. Lengths are in units of the
distance between the eye centres, in the face's own upright frame.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import RBFInterpolator

from tests.scenes.demo.poses import Pose

# FaceMesh indices, image left to image right.
OUTER_UPPER = (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291)
OUTER_LOWER = (146, 91, 181, 84, 17, 314, 405, 321, 375)
INNER_UPPER = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308)
INNER_LOWER = (95, 88, 178, 87, 14, 317, 402, 318, 324)
# FaceMesh has two more rings between the outer and the inner contour of the lips.
MIDDLE_UPPER = (
    (76, 184, 74, 73, 72, 11, 302, 303, 304, 408, 306),
    (62, 183, 42, 41, 38, 12, 268, 271, 272, 407, 292),
)
MIDDLE_LOWER = ((77, 90, 180, 85, 16, 315, 404, 320, 307), (96, 89, 179, 86, 15, 316, 403, 319, 325))
LEFT_BROW = ((70, 63, 105, 66, 107), (46, 53, 52, 65, 55))  # outer to inner end; upper, lower edge
RIGHT_BROW = ((300, 293, 334, 296, 336), (276, 283, 282, 295, 285))
LEFT_LIDS = ((246, 161, 160, 159, 158, 157, 173), (7, 163, 144, 145, 153, 154, 155))  # upper, lower
RIGHT_LIDS = ((466, 388, 387, 386, 385, 384, 398), (249, 390, 373, 374, 380, 381, 382))
# The crease above the upper lid follows it in part.
LEFT_CREASE, RIGHT_CREASE = (247, 30, 29, 27, 28, 56, 190), (467, 260, 259, 257, 258, 286, 414)
EYE_CORNERS = (33, 133, 362, 263)
IRIS_RIMS = (469, 470, 471, 472, 474, 475, 476, 477)
IRISES = (468, 473, *IRIS_RIMS)
CHIN = (152, 148, 176, 149, 377, 400, 378, 199, 175, 200, 18)
JAW = ((150, 379, 0.8), (136, 365, 0.6), (172, 397, 0.4), (58, 288, 0.2), (132, 361, 0.05))
CHEEKS = ((205, 425, 1.0), (50, 280, 0.8), (187, 411, 0.8), (207, 427, 0.7), (101, 330, 0.5), (118, 347, 0.4))
ALAE = (98, 327, 64, 294, 129, 358)
STILL = (10, 338, 109, 297, 67, 332, 103, 284, 54, 251, 21, 389, 162, 356, 127, 454, 234, 6, 168, 197, 1, 4)


@dataclass(frozen=True)
class FaceFrame:
    """Upright frame of a face: origin between the eyes, x along the eye line, one eye distance long.

    Attributes:
        origin: ``(2,)`` px.
        axes: ``(2, 2)`` rows: the unit of x and of y, px.
    """

    origin: NDArray[np.float64]
    axes: NDArray[np.float64]

    @classmethod
    def of(cls, landmarks: NDArray[np.float64]) -> FaceFrame:
        """Frame from ``(N, 2+)`` FaceMesh landmarks in px."""
        left = landmarks[[33, 133], :2].mean(0)
        right = landmarks[[362, 263], :2].mean(0)
        x = right - left
        return cls((left + right) / 2, np.array([x, [-x[1], x[0]]]))

    def enter(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Px to face units, ``(N, 2)``."""
        return np.asarray((points - self.origin) @ np.linalg.inv(self.axes))

    def leave_vector(self, vectors: NDArray[np.float64]) -> NDArray[np.float64]:
        """Face units to px for displacements, ``(N, 2)``."""
        return np.asarray(vectors @ self.axes)


def _lips(face: NDArray[np.float64], pose: Pose) -> dict[int, NDArray[np.float64]]:
    """Displacement of every lip landmark, face units."""
    corners = face[[61, 291]]
    centre_x = corners[:, 0].mean()
    corner_y = corners[:, 1].mean()
    half = (corners[1, 0] - corners[0, 0]) / 2
    upper_mid, lower_mid = face[13], face[14]
    line_y = (upper_mid[1] + lower_mid[1]) / 2 + pose.line_down
    moves: dict[int, NDArray[np.float64]] = {}

    def line_at(u: float) -> float:
        target_corner = corner_y + pose.corners_down
        tubercle = 0.014 * np.exp(-((u / 0.28) ** 2)) if pose.gap == 0.0 else 0.0
        return float(line_y + (target_corner - line_y) * u * u + tubercle)

    def source_inner(u: float, inner: tuple[int, ...], ends: tuple[int, int]) -> float:
        ring = (ends[0], *inner, ends[1]) if ends[0] not in inner else inner
        xs = (face[list(ring), 0] - centre_x) / half
        return float(np.interp(u, xs, face[list(ring), 1]))

    rows = (
        (OUTER_UPPER, -1),
        (MIDDLE_UPPER[0], -1),
        (MIDDLE_UPPER[1], -1),
        (INNER_UPPER, -1),
        (OUTER_LOWER, 1),
        (MIDDLE_LOWER[0], 1),
        (MIDDLE_LOWER[1], 1),
        (INNER_LOWER, 1),
    )
    for row, side in rows:
        for index in row:
            x, y = face[index]
            u = float(np.clip((x - centre_x) / half, -1, 1))
            inner_y = source_inner(u, INNER_UPPER if side < 0 else INNER_LOWER, (78, 308))
            thick = y - inner_y  # signed: the upper lip is above its inner edge
            target_x = centre_x + (x - centre_x) * pose.mouth_width
            if pose.gap is None:
                target_y = y + (line_at(u) - (line_y + (corner_y - line_y) * u * u))
            else:
                profile = max(1 - u * u, 0.0) ** pose.gap_round
                scale = pose.upper_thick if side < 0 else pose.lower_thick
                # The upper lip is held by the skull: most of an opening comes from below.
                share = -0.34 if side < 0 else 0.66
                target_y = line_at(u) + share * pose.gap * profile + thick * scale
            moves[index] = np.array([target_x - x, target_y - y])
    return moves


def _brow(rows: tuple[tuple[int, ...], ...], pose: Pose, inwards: float) -> dict[int, NDArray[np.float64]]:
    up = np.interp(np.linspace(0, 1, 5), [0, 0.5, 1], [pose.brow_outer_up, pose.brow_mid_up, pose.brow_inner_up])
    along = np.linspace(0, 1, 5) ** 2
    return {
        index: np.array([inwards * pose.brows_together * along[k], -up[k]])
        for row in rows
        for k, index in enumerate(row)
    }


def _eye(
    lids: tuple[tuple[int, ...], ...], crease: tuple[int, ...], upper_up: float, lower_up: float
) -> dict[int, NDArray[np.float64]]:
    profile = np.sin(np.linspace(0, np.pi, 9))[1:-1]
    moves = {index: np.array([0.0, -upper_up * profile[k]]) for k, index in enumerate(lids[0])}
    moves |= {index: np.array([0.0, -lower_up * profile[k]]) for k, index in enumerate(lids[1])}
    return moves | {index: np.array([0.0, -0.5 * upper_up * profile[k]]) for k, index in enumerate(crease)}


def handles(face: NDArray[np.float64], pose: Pose) -> dict[int, NDArray[np.float64]]:
    """Displacement of the handle landmarks of a pose.

    Args:
        face: ``(478, 2)`` landmarks in face units.
        pose: The pose.

    Returns:
        Landmark index to ``(2,)`` displacement, face units.
    """
    moves: dict[int, NDArray[np.float64]] = {index: np.zeros(2) for index in (*STILL, *EYE_CORNERS, *IRISES)}
    moves |= {index: np.array([0.0, pose.jaw_down]) for index in CHIN}
    for left, right, share in JAW:
        moves |= {index: np.array([0.0, pose.jaw_down * share]) for index in (left, right)}
    for left, right, share in CHEEKS:
        moves |= {index: np.array([0.0, pose.cheeks_down * share]) for index in (left, right)}
    for index in ALAE:
        moves[index] = np.array([pose.nose_in * (1 if face[index, 0] < face[1, 0] else -1), 0.0])
    moves |= _brow(LEFT_BROW, pose, 1.0) | _brow(RIGHT_BROW, pose, -1.0)
    moves |= _eye(LEFT_LIDS, LEFT_CREASE, pose.upper_lid_up, pose.lower_lid_up)
    moves |= _eye(RIGHT_LIDS, RIGHT_CREASE, pose.upper_lid_up, pose.lower_lid_up)
    return moves | _lips(face, pose)


def displacement(landmarks: NDArray[np.float64], pose: Pose) -> NDArray[np.float64]:
    """Displacement of every landmark for one pose.

    Args:
        landmarks: ``(478, 2+)`` landmarks of the portrait, px.
        pose: The pose.

    Returns:
        ``(478, 2)`` px.
    """
    frame = FaceFrame.of(landmarks)
    face = frame.enter(landmarks[:, :2])
    moves = handles(face, pose)
    index = np.array(list(moves))
    values = np.array(list(moves.values()))
    field = RBFInterpolator(face[index], values, kernel="thin_plate_spline", smoothing=0.0)(face)
    field[index] = values
    return frame.leave_vector(field)


def blink(landmarks: NDArray[np.float64]) -> NDArray[np.float64]:
    """Displacement that closes both eyes: the upper lid comes down to the lower one.

    Args:
        landmarks: ``(478, 2+)`` px, already in the pose in which the eyes close.

    Returns:
        ``(478, 2)`` px.
    """
    move = np.zeros((len(landmarks), 2))
    for (upper, lower), crease in ((LEFT_LIDS, LEFT_CREASE), (RIGHT_LIDS, RIGHT_CREASE)):
        travel = landmarks[list(lower), :2] - landmarks[list(upper), :2]
        move[list(upper)] = 0.92 * travel
        move[list(lower)] = -0.06 * travel
        move[list(crease)] = 0.45 * travel
    return move
