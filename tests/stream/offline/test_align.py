"""Crops of one face: the points that a model's own crop is cut by, for upright heads, lying ones and no head at all."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from stream.camera.paths import demo_clip_path
from stream.offline.align import CropAligner

SIDE = 160


@pytest.fixture(scope="module")
def aligner() -> CropAligner:
    return CropAligner()


@pytest.fixture(scope="module")
def face() -> NDArray[np.uint8]:
    read, frame = cv2.VideoCapture(str(demo_clip_path())).read()
    assert read
    crop = cv2.cvtColor(frame[104:426, 174:460], cv2.COLOR_BGR2RGB)
    return np.asarray(cv2.resize(crop, (SIDE, SIDE)), np.uint8)


@pytest.mark.parametrize("turn", [15, -30, 70, 90])
def test_points_turn_with_the_head(aligner: CropAligner, face: NDArray[np.uint8], turn: float) -> None:
    upright = aligner.points(face)
    assert upright.found
    points = upright.points5
    # Eyes above the nose above the mouth, left before right.
    assert points[:2, 1].max() < points[2, 1] < points[3:, 1].min()
    assert points[0, 0] < points[1, 0]
    matrix = cv2.getRotationMatrix2D(((SIDE - 1) / 2, (SIDE - 1) / 2), turn, 1.0)
    turned = cv2.warpAffine(face, matrix, (SIDE, SIDE), borderMode=cv2.BORDER_REPLICATE)
    again = aligner.points(np.asarray(turned, np.uint8))
    assert again.found
    np.testing.assert_allclose(again.points5, points @ matrix[:, :2].T + matrix[:, 2], atol=0.04 * SIDE)


def test_where_there_is_no_face_the_points_are_the_typical_ones(aligner: CropAligner) -> None:
    empty = np.full((SIDE, SIDE, 3), 90, np.uint8)
    typical = aligner.points(empty)
    assert not typical.found
    points = typical.points5
    assert ((points > 0) & (points < SIDE)).all()
    assert points[:2, 1].max() < points[2, 1] < points[3:, 1].min()
