"""How sharp a face is, whatever its light; on the demo's own photograph."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from stream.camera.paths import demo_clip_path
from stream.faces import FaceTracker
from stream.faces.quality import sharpness
from stream.scores.look import describe

Image = NDArray[np.uint8]


@pytest.fixture(scope="module")
def face() -> tuple[Image, NDArray[np.float32]]:
    capture = cv2.VideoCapture(str(demo_clip_path()))
    image = np.asarray(capture.read()[1][..., ::-1], np.uint8).copy()
    capture.release()
    (found,) = FaceTracker().step(image, 1).faces
    assert found.points5 is not None
    return image, found.points5


def blur_of(image: NDArray[np.floating] | Image, points: NDArray[np.float32]) -> float:
    picture = np.clip(np.rint(image), 0, 255).astype(np.uint8)
    blur = describe(100.0, sharpness(picture, points), 0.0, 0.0).blur
    assert blur is not None
    return blur


def blurred_by(sigma_px: float, image: NDArray[np.float64], points: NDArray[np.float32]) -> float:
    return blur_of(np.asarray(cv2.GaussianBlur(image, (0, 0), sigma_px), np.float64), points)


@pytest.mark.parametrize("gain", [1.4, 0.5, 0.25, 0.1])
def test_a_sharp_face_is_sharp_in_any_light(face: tuple[Image, NDArray[np.float32]], gain: float) -> None:
    image, points = face
    assert blur_of(image, points) < 0.15
    assert blur_of(image * np.float64(gain), points) == pytest.approx(blur_of(image, points), abs=0.03)
    # Light from one side, as far as a fifth of the other's.
    shade = np.linspace(gain, 1, image.shape[1])[None, :, None]
    assert blur_of(image * shade, points) == pytest.approx(blur_of(image, points), abs=0.03)


def test_blur_grows_with_blur_and_is_one_half_where_a_face_begins_to_look_blurred(
    face: tuple[Image, NDArray[np.float32]],
) -> None:
    image, points = face
    pixel = float(np.linalg.norm(points[1] - points[0])) / 23  # the eyes are 23 px apart in the aligned face
    for gain in (1.0, 0.3):
        found = [blurred_by(k * pixel, image * np.float64(gain), points) for k in (0.5, 1, 2)]
        assert found == sorted(found)
        assert found[0] < 0.4
        assert found[1] == pytest.approx(0.5, abs=0.12)
        assert found[2] > 0.75


def test_nothing_to_be_seen_is_no_sharp_face(face: tuple[Image, NDArray[np.float32]]) -> None:
    image, points = face
    assert blur_of(np.full_like(image, 90), points) == 1
