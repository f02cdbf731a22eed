"""What is hidden of a face, on the demo's own portrait in many lights."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from stream.camera.paths import demo_clip_path
from stream.faces import FaceTracker
from stream.faces.covered import cover
from stream.scores.look import HIDDEN, Looks

Image = NDArray[np.uint8]


@pytest.fixture(scope="module")
def faces() -> list[tuple[Image, NDArray[np.float32]]]:
    """At rest, smiling, with an open mouth, frowning."""
    capture, tracker, found = cv2.VideoCapture(str(demo_clip_path())), FaceTracker(), []
    for number in (30, 105, 195, 255):
        capture.set(cv2.CAP_PROP_POS_FRAMES, number)
        image = np.ascontiguousarray(capture.read()[1][..., ::-1], np.uint8)
        tracker.begin()
        (face,) = tracker.step(image, 1).faces
        assert face.points5 is not None
        found.append((image, face.points5))
    capture.release()
    return found


def painted(image: Image, outlines: list[NDArray[np.floating]], level: int) -> Image:
    out = image.copy()
    cv2.fillPoly(out, [np.round(each).astype(np.int32) for each in outlines], (level, level, level), cv2.LINE_AA)
    return out


def masked(image: Image, points: NDArray[np.float32], level: int = 200) -> Image:
    across, nose, mouth = points[1] - points[0], points[2], points[3:].mean(0)
    down = mouth - points[:2].mean(0)
    chin = mouth + 0.75 * down
    outline = [nose, nose + 0.8 * across, mouth + 0.7 * across, chin + 0.4 * across]
    outline += [chin - 0.4 * across, mouth - 0.7 * across, nose - 0.8 * across]
    return painted(image, [np.stack(outline)], level)


def shaded(image: Image, points: NDArray[np.float32]) -> Image:
    across = float(np.linalg.norm(points[1] - points[0]))
    turn = np.linspace(0, 2 * np.pi, 40)
    lens = across * np.stack([0.42 * np.cos(turn), 0.34 * np.sin(turn)], 1)
    return painted(image, [eye + lens for eye in points[:2]], 25)


@pytest.mark.parametrize("gain", [1.0, 0.3, 0.1])
def test_a_bare_face_hides_nothing_whatever_it_does(
    faces: list[tuple[Image, NDArray[np.float32]]], gain: float
) -> None:
    for image, points in faces:
        seen = cover(np.asarray(image * gain, np.uint8), points)
        assert max(seen.eyes, seen.mouth) < HIDDEN
        assert 0.2 * gain < seen.brightness < gain


def test_a_mask_hides_the_mouth_and_dark_glasses_the_eyes(faces: list[tuple[Image, NDArray[np.float32]]]) -> None:
    for image, points in faces:
        for level in (40, 200):
            seen = cover(masked(image, points, level), points)
            assert seen.mouth > HIDDEN > seen.eyes
        seen = cover(shaded(image, points), points)
        assert seen.eyes > HIDDEN > seen.mouth


def test_one_odd_look_hides_nothing_and_a_few_do(faces: list[tuple[Image, NDArray[np.float32]]]) -> None:
    image, points = faces[0]
    looks = Looks()
    assert (looks.of("f"), looks.reason("f", "ok")) == (None, "ok")
    looks.step("f", image, points)
    hidden = []
    for _ in range(4):
        looks.step("f", masked(image, points), points)
        hidden.append(looks.reason("f", "ok"))
    assert (hidden[0], hidden[-1], looks.reason("f", "warming")) == ("ok", "occluded", "warming")
    looks.forget("f")
    assert looks.of("f") is None
    # A face that comes with a mask has one from its first sample on.
    looks.step("g", masked(image, points), points)
    assert looks.reason("g", "ok") == "occluded"


def test_a_face_that_is_lost_in_the_dark_is_not_called_covered(faces: list[tuple[Image, NDArray[np.float32]]]) -> None:
    image, points = faces[0]
    looks = Looks()
    looks.step("f", np.asarray(image * 0.05, np.uint8), points)
    assert (looks.reason("f", "occluded"), looks.reason("f", "ok")) == ("dark", "ok")
    looks.step("f", image, points)
    assert looks.reason("f", "occluded") == "occluded"
