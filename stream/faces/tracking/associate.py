"""Which observation belongs to which face: a gated minimum-cost assignment over position and size.

The cost is centre distance over size plus log size ratio; the gate widens with the time a face was not seen.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from stream.faces.nets.detect import Detection
from stream.faces.settings import FaceSettings


@dataclass(frozen=True)
class Place:
    """Where a face is and how large.

    Attributes:
        x: Centre of eyes, nose and mouth, px.
        y: Likewise, px.
        size: Span of eyes and mouth times two, about the width of the face, px.
    """

    x: float
    y: float
    size: float

    def shifted(self, dx: float, dy: float) -> Place:
        """The same face moved by (dx, dy) px."""
        return replace(self, x=self.x + dx, y=self.y + dy)


Point = NDArray[np.floating]


def place_of(eye_left: Point, eye_right: Point, nose: Point, mouth: Point) -> Place:
    """Place of a face from the four points that detectors and landmark net have in common.

    The size joins the eyes' distance and that from eyes to mouth, because the first shrinks when the head turns and
    the second when it nods.

    Args:
        eye_left: (x, y) px; likewise ``eye_right``, ``nose``, ``mouth``.
        eye_right: See ``eye_left``.
        nose: See ``eye_left``.
        mouth: Centre of the mouth.
    """
    eyes = (eye_left + eye_right) / 2
    centre = (eye_left + eye_right + nose + mouth) / 4
    span = math.hypot(math.dist(eye_left.tolist(), eye_right.tolist()), math.dist(eyes.tolist(), mouth.tolist()))
    return Place(float(centre[0]), float(centre[1]), max(2.0 * span, 1e-3))


def cost(predicted: Place, seen: Place) -> float:
    """Distance of centres over the predicted size, plus the absolute log of the size ratio."""
    distance = math.hypot(seen.x - predicted.x, seen.y - predicted.y) / predicted.size
    return distance + abs(math.log(seen.size / predicted.size))


def gate(settings: FaceSettings, unseen_s: float) -> float:
    """Largest cost at which a face that was not seen for ``unseen_s`` seconds may be matched."""
    return min(settings.gate + settings.gate_growth_per_s * unseen_s, settings.gate_max)


def match(predicted: Sequence[Place], gates: Sequence[float], seen: Sequence[Place]) -> dict[int, int]:
    """Match as many faces as the gates allow, at the lowest total cost.

    Args:
        predicted: Where each face should be.
        gates: The largest cost allowed for each face.
        seen: What was observed.

    Returns:
        The observation of each face that has one, in the order of the faces.
    """
    if not predicted or not seen:
        return {}
    # A pair beyond its gate must cost more than any number of allowed pairs, yet stay finite.
    refused = 1.0 + sum(gates) * 2
    table = np.full((len(predicted), len(seen)), refused)
    for i, place in enumerate(predicted):
        for j, other in enumerate(seen):
            value = cost(place, other)
            if value <= gates[i]:
                table[i, j] = value
    return {i: j for i, j in assign(table) if table[i, j] < refused}


def assign(table: NDArray[np.float64]) -> list[tuple[int, int]]:
    """Minimum-cost assignment of a finite cost table by shortest augmenting paths.

    Jonker and Volgenant, Computing 38, 1987. Written out because ``scipy.optimize`` alone takes 46 MB and half a
    second to import; a test holds it against scipy's.

    Args:
        table: ``(rows, columns)`` float64.

    Returns:
        min(rows, columns) pairs (row, column), ordered by row.
    """
    if table.shape[0] > table.shape[1]:
        return sorted((row, column) for column, row in assign(table.T))
    rows, columns = table.shape
    row_price, column_price = [0.0] * (rows + 1), [0.0] * (columns + 1)
    owner = [0] * (columns + 1)  # row of each column, both counted from 1; 0 is free
    for row in range(1, rows + 1):
        owner[0], column = row, 0
        slack, back, done = [math.inf] * (columns + 1), [0] * (columns + 1), [False] * (columns + 1)
        while owner[column]:
            done[column] = True
            here, step, following = owner[column], math.inf, 0
            for j in range(1, columns + 1):
                if done[j]:
                    continue
                reduced = float(table[here - 1, j - 1]) - row_price[here] - column_price[j]
                if reduced < slack[j]:
                    slack[j], back[j] = reduced, column
                if slack[j] < step:
                    step, following = slack[j], j
            for j in range(columns + 1):
                if done[j]:
                    row_price[owner[j]] += step
                    column_price[j] -= step
                else:
                    slack[j] -= step
            column = following
        while column:
            owner[column] = owner[back[column]]
            column = back[column]
    return sorted((owner[j] - 1, j - 1) for j in range(1, columns + 1) if owner[j])


def place_of_detection(detection: Detection) -> Place:
    """Where a detected face is, by its eyes, nose and mouth."""
    points = detection.keypoints
    return place_of(points[0], points[1], points[2], points[3])


def same_place(a: Place, b: Place) -> bool:
    """Whether two places are of one face: their middles within 0.4 of the smaller one's size."""
    return math.hypot(a.x - b.x, a.y - b.y) < 0.4 * min(a.size, b.size)


def united(found: Sequence[Detection], more: Sequence[Detection]) -> list[Detection]:
    """Detections of several searches, each face once: as it was found first."""
    faces = list(found)
    for detection in more:
        place = place_of_detection(detection)
        if not any(same_place(place, place_of_detection(other)) for other in faces):
            faces.append(detection)
    return faces
