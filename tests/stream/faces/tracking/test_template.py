"""A face's patch aligned to later frames: where it is, and whether it still looks alike."""

from __future__ import annotations

import cmath
from dataclasses import replace

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from stream.faces.nets.regions import Region
from stream.faces.tracking.template import Template
from tests.scenes.faces import Pose, Scene

REGION = Region(320, 240, 165)
Image = NDArray[np.uint8]


def frame(pose: Pose, gain: float = 1.0, seed: int = 0) -> Image:
    image = next(iter(Scene("one", 1, lambda _: [pose], noise=0.0)))[1].astype(np.float32)
    noise = np.random.default_rng(seed).normal(0, 2, image.shape)
    return np.asarray((image * gain + noise).clip(0, 255), np.uint8)


STILL = frame(Pose(320, 240, 110))


@pytest.mark.parametrize(
    ("x", "y", "width", "roll_deg"),
    [(320, 240, 110, 0), (326, 237, 110, 0), (320.4, 240.3, 110, 0), (322, 241, 116, 3), (320, 240, 104, -6)],
)
@pytest.mark.parametrize("gain", [0.6, 1.0, 1.2])
def test_shift_turn_and_growth_are_found_in_any_light(
    x: float, y: float, width: float, roll_deg: float, gain: float
) -> None:
    found = Template(STILL, REGION, 1.5).align(frame(Pose(x, y, width, roll_deg), gain, 1), REGION)
    assert abs(found.centre - complex(x, y)) < 0.3
    assert abs(found.ratio) == pytest.approx(width / 110, abs=0.006)
    assert cmath.phase(found.ratio) == pytest.approx(np.radians(roll_deg), abs=0.006)
    assert found.residual < 0.15


@pytest.mark.parametrize("size", [24, 60, 300])
def test_small_and_large_faces_are_aligned_to_a_share_of_their_size(size: int) -> None:
    region = replace(REGION, size=1.5 * size)
    shift = 0.04 * size
    template = Template(frame(Pose(320, 240, size)), region, 1.5)
    found = template.align(frame(Pose(320 + shift, 240, size), seed=1), region)
    assert abs(found.centre - complex(320 + shift, 240)) < 0.01 * size
    assert found.residual < 0.15


def test_closed_eyes_a_hand_and_another_picture_are_no_motion() -> None:
    template = Template(STILL, REGION, 1.5)
    closed, hand = STILL.copy(), STILL.copy()
    # Both eyes' place as even as the skin beside them.
    for x in (298, 337):
        closed[220:234, x - 14 : x + 14] = cv2.blur(STILL, (31, 31))[236:250, x - 14 : x + 14]
    hand[235:300, 300:350] = 90
    assert template.align(closed, REGION).worst > 0.28
    assert template.align(hand, REGION).worst > 0.5
    other = np.random.default_rng(0).integers(0, 255, STILL.shape, np.uint8)
    assert template.align(other, REGION).residual > 0.6


@pytest.mark.parametrize("at", [(0, 0), (639, 479), (-40, 240), (700, 240)])
def test_a_face_at_the_border_or_beyond_is_no_error(at: tuple[int, int]) -> None:
    region = Region(*at, 120)
    found = Template(STILL, region, 1.5).align(STILL, region)
    assert np.isfinite([found.residual, found.worst, abs(found.ratio), abs(found.centre)]).all()


def test_an_even_picture_is_no_error() -> None:
    even = np.full((100, 100, 3), 128, np.uint8)
    found = Template(even, Region(50, 50, 60), 1.5).align(even, Region(50, 50, 60))
    assert np.isfinite([found.residual, found.worst]).all()
