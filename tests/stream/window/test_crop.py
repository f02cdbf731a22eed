"""The aligned crop against known warps."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from engine.spec import CropGeometry
from stream.faces.alignment import similarity
from stream.window.crop import crop_face

GEOMETRY = CropGeometry()
TEMPLATE = np.asarray(GEOMETRY.template) * GEOMETRY.size_px


def warp(scale: float, roll_deg: float, x: float, y: float) -> NDArray[np.float64]:
    cos, sin = scale * math.cos(math.radians(roll_deg)), scale * math.sin(math.radians(roll_deg))
    return np.array([[cos, -sin, x], [sin, cos, y]])


def moved(points: NDArray[np.float64], matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    return points @ matrix[:, :2].T + matrix[:, 2]


def pattern(side: int = 224) -> NDArray[np.uint8]:
    """A smooth picture that has no symmetry, as seen in the crop."""
    y, x = np.mgrid[0:side, 0:side].astype(np.float64)
    red = 128 + 100 * np.sin(x / 23) * np.cos(y / 31)
    green = 255 * x / side
    blue = 255 * np.exp(-((x - 80) ** 2 + (y - 150) ** 2) / 3000)
    return np.stack([red, green, blue], -1).astype(np.uint8)


@given(scale=st.floats(0.05, 20), roll=st.floats(-180, 180), x=st.floats(-2000, 2000), y=st.floats(-2000, 2000))
def test_similarity_inverts_any_similarity(scale: float, roll: float, x: float, y: float) -> None:
    matrix = warp(scale, roll, x, y)
    back = similarity(moved(TEMPLATE, matrix), GEOMETRY)
    full = np.vstack([matrix, [0, 0, 1]])
    np.testing.assert_allclose(back @ full, [[1, 0, 0], [0, 1, 0]], atol=1e-6 * (1 + abs(x) + abs(y)) / scale)


@given(st.lists(st.floats(-300, 300), min_size=10, max_size=10))
@settings(max_examples=50)
def test_similarity_is_the_least_squares_optimum(offsets: list[float]) -> None:
    points = TEMPLATE + np.reshape(offsets, (5, 2)) * 0.1
    matrix = similarity(points, GEOMETRY)
    a, b = matrix[0, 0], matrix[1, 0]
    assert matrix[0, 1] == pytest.approx(-b)
    assert matrix[1, 1] == pytest.approx(a)
    # The same problem as linear least squares in (a, b, tx, ty).
    x, y = points.T
    one, zero = np.ones(5), np.zeros(5)
    system = np.concatenate([np.stack([x, -y, one, zero], 1), np.stack([y, x, zero, one], 1)])
    solution = np.linalg.lstsq(system, TEMPLATE.T.reshape(-1), rcond=None)[0]
    np.testing.assert_allclose([a, b, matrix[0, 2], matrix[1, 2]], solution, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("scale", "roll"), [(1.0, 0), (0.6, 25), (1.7, -40), (2.6, 10), (4.0, 0), (4.0, 75), (6.3, -120)]
)
def test_a_known_face_comes_back_unwarped(scale: float, roll: float) -> None:
    """A picture warped into a frame by a known similarity and cropped again is the picture."""
    side = int(224 * scale * 1.6) + 60
    matrix = warp(scale, roll, 0, 0)
    matrix[:, 2] = side / 2 - matrix[:, :2] @ [111.5, 111.5]
    picture = pattern()
    frame = cv2.warpAffine(picture, matrix, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    crop = crop_face(np.asarray(frame, np.uint8), moved(TEMPLATE, matrix), GEOMETRY)
    assert crop.shape == (224, 224, 3)
    assert crop.dtype == np.uint8
    inner = np.abs(crop.astype(int) - picture)[4:-4, 4:-4]
    assert inner.mean() < 1.5
    # A shift by s px adds s times the slope: regress the difference on it. The red waves have slopes of both signs, so
    # that rounding to whole grey levels does not count.
    slope = np.gradient(picture[..., 0].astype(float), axis=1)[8:-8, 8:-8]
    difference = (crop[..., 0].astype(float) - picture[..., 0])[8:-8, 8:-8]
    assert abs((slope * difference).sum() / (slope * slope).sum()) < 0.1


@given(x=st.floats(0, 400), y=st.floats(0, 300), roll=st.floats(-90, 90))
@settings(max_examples=30, deadline=None)
def test_the_five_points_land_on_the_template(x: float, y: float, roll: float) -> None:
    """Bright dots at the landmarks of a face are bright dots at the template's points."""
    frame = np.zeros((700, 800, 3), np.float32)
    matrix = warp(0.9, roll, x + 150, y + 150)
    points = moved(TEMPLATE, matrix)
    grid_y, grid_x = np.mgrid[0:700, 0:800]
    for px, py in points:
        frame += 250 * np.exp(-((grid_x - px) ** 2 + (grid_y - py) ** 2) / 18.0)[..., None]
    inside = (points > 10).all() and (points < [790, 690]).all()
    crop = crop_face(frame.clip(0, 255).astype(np.uint8), points, GEOMETRY)[..., 0].astype(float)
    if not inside:
        return
    for tx, ty in TEMPLATE:
        left, top = int(round(tx)) - 8, int(round(ty)) - 8
        patch = crop[top : top + 17, left : left + 17]
        rows, columns = np.mgrid[top : top + 17, left : left + 17]
        assert (patch * columns).sum() / patch.sum() == pytest.approx(tx, abs=0.3)
        assert (patch * rows).sum() / patch.sum() == pytest.approx(ty, abs=0.3)


@pytest.mark.parametrize(("x", "y"), [(60, 60), (600, 60), (60, 600)])
def test_a_large_face_does_not_alias(x: int, y: int) -> None:
    """Fine stripes of a face eight times the crop average out instead of turning into coarse ones."""
    frame = np.zeros((2000 + y, 2000 + x, 3), np.uint8)
    frame[:, ::3] = 255
    matrix = warp(8, 0, x, y)
    crop = crop_face(frame, moved(TEMPLATE, matrix), GEOMETRY)
    assert crop[8:-8, 8:-8].std() < 12
    assert crop.mean() == pytest.approx(85, abs=6)
    plain = cv2.warpAffine(frame, similarity(moved(TEMPLATE, matrix), GEOMETRY), (224, 224))
    assert plain[8:-8, 8:-8].std() > 60


@pytest.mark.parametrize("scale", [0.7, 1.0, 1.9])
def test_a_face_up_to_twice_the_crop_is_sampled_once(scale: float) -> None:
    """The frame is not shrunk first, which would blur it."""
    frame = np.random.default_rng(0).integers(0, 256, (500, 500, 3), np.uint8)
    points = moved(TEMPLATE, warp(scale, 7, 30, 20))
    once = cv2.warpAffine(frame, similarity(points, GEOMETRY), (224, 224), borderMode=cv2.BORDER_REPLICATE)
    np.testing.assert_array_equal(crop_face(frame, points, GEOMETRY), once)


def test_the_border_is_what_the_geometry_says() -> None:
    frame = np.full((300, 300, 3), 200, np.uint8)
    points = TEMPLATE + [-110, 40]  # the left half of the crop lies outside the frame
    replicate = crop_face(frame, points, CropGeometry(border="replicate"))
    black = crop_face(frame, points, CropGeometry(border="black"))
    assert (replicate == 200).all()
    assert (black[20:200, :100] == 0).all()
    assert (black[20:200, 120:] == 200).all()


@pytest.mark.parametrize("border", ["replicate", "black"])
def test_a_large_face_at_the_edge_keeps_its_border(border: str) -> None:
    frame = np.full((900, 900, 3), 200, np.uint8)
    points = moved(TEMPLATE, warp(4, 0, -450, 10))
    crop = crop_face(frame, points, CropGeometry(border=border))
    assert (crop[20:200, 125:] == 200).all()
    assert (crop[20:200, :100] == (200 if border == "replicate" else 0)).all()


def test_a_large_face_at_the_edge_is_continued_by_the_frames_outermost_pixels() -> None:
    frame = np.full((1800, 1800, 3), 200, np.uint8)
    frame[:, :4] = frame[:4] = 0
    crop = crop_face(frame, moved(TEMPLATE, warp(4, 0, -450, -450)), CropGeometry(border="replicate"))
    assert crop[:100].max() <= 10
    assert crop[:, :100].max() <= 10
    assert (crop[130:200, 130:200] == 200).all()
    frame = np.full((900, 900, 3), 200, np.uint8)
    frame[:, -4:] = frame[-4:] = 0
    crop = crop_face(frame, moved(TEMPLATE, warp(4, 0, 450, 450)), CropGeometry(border="replicate"))
    assert crop[-100:].max() <= 10
    assert crop[:, -100:].max() <= 10


@pytest.mark.parametrize(("x", "y"), [(5000, 5000), (5000, -400), (-400, 5000), (-5000, -400), (-400, -5000)])
def test_a_large_face_outside_the_frame_is_all_border(x: float, y: float) -> None:
    frame = np.full((200, 200, 3), 90, np.uint8)
    crop = crop_face(frame, moved(TEMPLATE, warp(5, 0, x, y)), CropGeometry(border="black"))
    assert (crop == 0).all()


@pytest.mark.parametrize("points", [np.full((5, 2), 7.0), np.full((5, 2), np.nan), np.zeros((4, 2)), np.zeros((5, 3))])
def test_impossible_points_are_refused(points: NDArray[np.float64]) -> None:
    with pytest.raises(ValueError, match="points"):
        crop_face(np.zeros((50, 50, 3), np.uint8), points, GEOMETRY)
