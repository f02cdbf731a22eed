"""The nets against MediaPipe's own pipeline, and the geometry around them."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from dataclasses import astuple
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from stream.faces import FaceError
from stream.faces.nets import models
from stream.faces.nets.detect import Detector, anchors, suppress
from stream.faces.nets.landmarks import LandmarkNet
from stream.faces.nets.models import model_path
from stream.faces.nets.regions import Region, five_points, region_of_detection, region_of_landmarks, whole_frame
from stream.faces.pose import head_pose
from stream.faces.quality import sharpness
from stream.faces.tracking.turns import DetectorRun, Turns, tiles
from tests.scenes.faces import Pose, Scene

Image = NDArray[np.uint8]


def picture(x: float, y: float, width: float, roll: float = 0.0, size: tuple[int, int] = (640, 480)) -> Image:
    scene = Scene("still", 1, lambda _: [Pose(x, y, width, roll)], size=size)
    return next(iter(scene))[1]


PICTURES = {
    "wide": picture(300, 200, 110),
    "tall": picture(200, 300, 130, 20, (480, 640)),
    "edge": picture(60, 240, 120, -15),
    "large": picture(320, 240, 240, 5),
}


@pytest.fixture(scope="module")
def mediapipe_solutions() -> Iterator[Any]:
    """MediaPipe's own pipeline; its C++ log goes to the terminal only."""
    os.environ.setdefault("GLOG_minloglevel", "2")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield pytest.importorskip("mediapipe", reason="mediapipe 0.10.14 has no wheel above Python 3.12").solutions


@pytest.fixture(scope="module")
def detectors() -> dict[str, Detector]:
    return {"short": Detector("short"), "full": Detector("full")}


@pytest.fixture(scope="module")
def landmark_net() -> LandmarkNet:
    return LandmarkNet()


@pytest.mark.parametrize("name", PICTURES)
@pytest.mark.parametrize(("kind", "selection", "score"), [("short", 0, 0.5), ("full", 1, 0.6)])
def test_detectors_equal_mediapipes(
    mediapipe_solutions: Any, detectors: dict[str, Detector], name: str, kind: str, selection: int, score: float
) -> None:
    image = PICTURES[name]
    height, width = image.shape[:2]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with mediapipe_solutions.face_detection.FaceDetection(score, selection) as detection:
            theirs = detection.process(image).detections or []
    ours = detectors[kind].run(image, score)
    assert len(ours) == len(theirs) >= 1
    for mine, other in zip(ours, sorted(theirs, key=lambda d: -d.score[0]), strict=True):
        box = other.location_data.relative_bounding_box
        expected = np.array([box.xmin * width, box.ymin * height, box.width * width, box.height * height])
        np.testing.assert_allclose(mine.box, expected, atol=0.1)
        points = [(k.x * width, k.y * height) for k in other.location_data.relative_keypoints]
        np.testing.assert_allclose(mine.keypoints, points, atol=0.1)
        assert mine.score == pytest.approx(other.score[0], abs=1e-3)


@pytest.mark.parametrize("name", ["wide", "tall", "large"])
def test_landmarks_equal_mediapipes(
    mediapipe_solutions: Any, detectors: dict[str, Detector], landmark_net: LandmarkNet, name: str
) -> None:
    image = PICTURES[name]
    height, width = image.shape[:2]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with mediapipe_solutions.face_mesh.FaceMesh(static_image_mode=True) as mesh:
            theirs = mesh.process(image).multi_face_landmarks[0].landmark
    expected = np.array([(p.x * width, p.y * height, p.z * width) for p in theirs])
    found = detectors["short"].run(image, 0.5)[0]
    ours = landmark_net.run(image, region_of_detection(found.box, found.keypoints, 1.5))
    assert ours.presence > 0.99
    np.testing.assert_allclose(ours.points, expected, atol=0.15)


def test_presence_falls_without_a_face(landmark_net: LandmarkNet) -> None:
    random = np.random.default_rng(0)
    coarse = random.uniform(0, 255, (30, 40, 3)).astype(np.float32)
    background = cv2.resize(coarse, (640, 480)).clip(0, 255).astype(np.uint8)
    high = [
        landmark_net.run(background, Region(x, y, 150)).presence >= 0.9
        for x in range(100, 560, 60)
        for y in range(100, 400, 60)
    ]
    assert sum(high) == 0


def test_a_face_is_found_in_a_rotated_region(detectors: dict[str, Detector]) -> None:
    image = picture(320, 240, 100, 70)
    found = detectors["short"].run(image, 0.5, Region(320, 240, 260, math.radians(70)))[0]
    eyes = found.keypoints[1] - found.keypoints[0]
    assert math.degrees(math.atan2(eyes[1], eyes[0])) == pytest.approx(70, abs=8)
    centre = np.array(found.box[:2]) + np.array(found.box[2:]) / 2
    np.testing.assert_allclose(centre, (320, 240), atol=25)


def test_anchor_counts_and_order() -> None:
    short, full = anchors("short"), anchors("full")
    assert short.shape == (896, 2)
    assert full.shape == (2304, 2)
    np.testing.assert_allclose(short[:3], [[1 / 32, 1 / 32], [1 / 32, 1 / 32], [3 / 32, 1 / 32]])
    np.testing.assert_allclose(full[48], [0.5 / 48, 1.5 / 48])


@given(st.integers(1, 30), st.integers(0, 2**32 - 1))
@settings(max_examples=50, deadline=None)
def test_suppression_leaves_no_overlap_of_group_heads(count: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    corner = random.uniform(0, 0.7, (count, 2))
    values = np.concatenate([corner, corner + random.uniform(0.1, 0.3, (count, 2)), np.zeros((count, 12))], 1)
    scores = random.uniform(0.5, 1, count)
    groups = suppress(values, scores)
    assert 1 <= len(groups) <= count
    assert groups[0][1] == scores.max()
    assert [s for _, s in groups] == sorted((s for _, s in groups), reverse=True)
    for merged, _ in groups:
        assert (merged[:4] >= values[:, :4].min(0) - 1e-9).all()
        assert (merged[:4] <= values[:, :4].max(0) + 1e-9).all()


@given(st.floats(-500, 500), st.floats(-500, 500), st.floats(5, 800), st.floats(-3.1, 3.1), st.integers(1, 256))
def test_a_regions_matrix_maps_its_corners(x: float, y: float, size: float, angle: float, side: int) -> None:
    matrix = Region(x, y, size, angle).to_frame(side)
    np.testing.assert_allclose(matrix @ [side / 2, side / 2, 1], (x, y), atol=1e-6)
    right = matrix @ [side, side / 2, 1] - matrix @ [0, side / 2, 1]
    np.testing.assert_allclose(right, (size * math.cos(angle), size * math.sin(angle)), atol=1e-6)


@given(st.floats(-3.0, 3.0), st.floats(0.3, 4))
@settings(max_examples=30)
def test_the_next_region_turns_and_grows_with_the_face(roll: float, scale: float) -> None:
    random = np.random.default_rng(3)
    points = random.uniform(-50, 50, (468, 2))
    points[33], points[133], points[362], points[263] = (-40, -20), (-15, -20), (15, -20), (40, -20)
    base = region_of_landmarks(points, 1.5)
    turn = scale * np.array([[math.cos(roll), -math.sin(roll)], [math.sin(roll), math.cos(roll)]])
    moved = region_of_landmarks(points @ turn.T + [300, 200], 1.5)
    assert moved.size == pytest.approx(base.size * scale)
    assert moved.angle == pytest.approx(roll)
    np.testing.assert_allclose((moved.x, moved.y), turn @ (base.x, base.y) + [300, 200], atol=1e-6)


def test_five_points_are_the_documented_ones() -> None:
    points = np.arange(468 * 3, dtype=np.float32).reshape(468, 3)
    xy = points[:, :2]
    expected = [(xy[33] + xy[133]) / 2, (xy[362] + xy[263]) / 2, xy[1], xy[61], xy[291]]
    np.testing.assert_array_equal(five_points(points), expected)
    assert five_points(points).dtype == np.float32
    assert points[362, 0] == 362 * 3  # the landmarks themselves are left alone


def test_tiles_cover_the_frame() -> None:
    for width, height in ((640, 480), (480, 640), (1280, 720), (360, 288), (1920, 400)):
        covered = np.zeros((height, width), bool)
        for tile in tiles(width, height):
            half = tile.size / 2
            top, left = max(round(tile.y - half), 0), max(round(tile.x - half), 0)
            covered[top : round(tile.y + half), left : round(tile.x + half)] = True
        assert covered.all(), (width, height)


def test_turns_survey_a_new_picture_then_take_turns() -> None:
    turns = Turns()
    count = len(tiles(640, 480))
    assert turns.take(640, 480, True) == [DetectorRun("full"), DetectorRun("short")]
    surveyed = [turns.take(640, 480, True)[0].region for _ in range(count)]
    assert surveyed == tiles(640, 480)
    assert not turns.surveying
    later = [turns.take(640, 480, True)[0] for _ in range(3 * count)]
    assert {DetectorRun("short"), DetectorRun("full")} <= set(later)
    assert {run.region for run in later if run.region is not None} == set(tiles(640, 480))
    turns.restart()
    assert turns.surveying
    turns.take(640, 480, False)
    assert not turns.surveying
    assert {turns.take(640, 480, False)[0].region for _ in range(6)} == {None}


def test_whole_frame_is_letterboxed() -> None:
    region = whole_frame(640, 480)
    assert (region.x, region.y, region.size, region.angle) == (320, 240, 640, 0)


def head(yaw_deg: float, pitch_deg: float, roll_deg: float) -> NDArray[np.float64]:
    """A synthetic head's landmarks after a known rotation: yaw about its own vertical axis, then pitch, then roll."""
    points = np.random.default_rng(5).uniform(-60, 60, (468, 3))
    for left, right, x, y in (
        (33, 263, 40, -20), (133, 362, 15, -20), (234, 454, 65, 0), (127, 356, 65, -15), (172, 397, 45, 50),
        (61, 291, 25, 40),
    ):  # fmt: skip
        points[left], points[right] = (-x, y, 0), (x, y, 0)
    for index, y in ((10, -80), (151, -60), (9, -40), (152, 90), (175, 80), (199, 70)):
        points[index] = (0, y, 0)
    yaw, pitch, roll = (math.radians(v) for v in (yaw_deg, pitch_deg, roll_deg))
    # The face looks along -z; towards the image's right (+x) is a positive yaw, up (-y) a positive pitch.
    turn = np.array([[math.cos(yaw), 0, -math.sin(yaw)], [0, 1, 0], [math.sin(yaw), 0, math.cos(yaw)]])
    nod = np.array([[1, 0, 0], [0, math.cos(pitch), math.sin(pitch)], [0, -math.sin(pitch), math.cos(pitch)]])
    lean = np.array([[math.cos(roll), -math.sin(roll), 0], [math.sin(roll), math.cos(roll), 0], [0, 0, 1]])
    return np.asarray(points @ (lean @ turn @ nod).T, np.float64)


@given(st.floats(-60, 60), st.floats(-40, 40))
@settings(max_examples=40)
def test_pose_recovers_a_known_rotation(yaw: float, pitch: float) -> None:
    # Undoing the roll by the eyes' line is exact where yaw and pitch are not both large.
    assert astuple(head_pose(head(yaw, 0, 0))) == pytest.approx((yaw, 0, 0), abs=1e-6)
    assert astuple(head_pose(head(0, pitch, 0))) == pytest.approx((0, pitch, 0), abs=1e-6)
    assert astuple(head_pose(head(yaw, 0, 30))) == pytest.approx((yaw, 0, 30), abs=1e-6)
    both = astuple(head_pose(head(yaw, pitch, 0)))
    assert both[0] == pytest.approx(yaw, abs=12)
    assert both[1] == pytest.approx(pitch, abs=12)


def test_a_mirrored_portrait_looks_the_other_way(landmark_net: LandmarkNet) -> None:
    image = picture(320, 240, 150)
    region = Region(320, 240, 240)
    yaw, pitch, roll = astuple(head_pose(landmark_net.run(image, region).points))
    mirrored = np.ascontiguousarray(image[:, ::-1])
    other_yaw, other_pitch, other_roll = astuple(head_pose(landmark_net.run(mirrored, region).points))
    assert other_yaw == pytest.approx(-yaw, abs=4)
    assert other_pitch == pytest.approx(pitch, abs=4)
    assert other_roll == pytest.approx(-roll, abs=4)
    assert abs(yaw) < 15
    assert abs(pitch) < 20


def test_blur_lowers_sharpness(landmark_net: LandmarkNet) -> None:
    image = picture(320, 240, 110)
    points = five_points(landmark_net.run(image, Region(320, 240, 180)).points)
    values = [sharpness(image, points)]
    values += [sharpness(np.asarray(cv2.GaussianBlur(image, (0, 0), s), np.uint8), points) for s in (1.5, 3.0, 6.0)]
    assert values == sorted(values, reverse=True)
    assert values[-1] < values[0] / 10
    with pytest.raises(ValueError, match="points"):
        sharpness(image, np.full((5, 2), np.nan))


def test_a_changed_or_missing_net_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changed = bytearray(model_path("landmark").read_bytes())
    changed[1000] ^= 1
    (tmp_path / "face_landmark.tflite").write_bytes(changed)
    monkeypatch.setattr(models, "FOLDER", tmp_path)
    with pytest.raises(FaceError, match=r"face_landmark\.tflite is not the expected net.*pip install"):
        model_path("landmark")
    with pytest.raises(FaceError, match=r"short_range\.tflite is missing.*pip install"):
        model_path("short")


def test_following_faces_imports_neither_mediapipe_nor_jax_nor_torch_and_is_quiet() -> None:
    code = (
        "import sys, numpy as np\n"
        "for name in ('mediapipe', 'jax', 'torch', 'scipy', 'google.protobuf'): sys.modules[name] = None\n"
        "from stream.faces import FaceTracker\n"
        "print(len(FaceTracker().step(np.zeros((120, 160, 3), np.uint8), 1).faces))\n"
    )
    root = Path(__file__).parents[4]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "0"
    assert done.stderr == ""
