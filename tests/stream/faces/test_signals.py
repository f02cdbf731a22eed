"""Head angles on heads of known pose; eyes and mouth on drawn blinks and on hand-labelled faces."""

from __future__ import annotations

import os
from dataclasses import astuple, replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from stream.faces.nets.landmarks import LandmarkNet
from stream.faces.nets.regions import Region, region_of_landmarks
from stream.faces.pose import HeadPose, head_pose
from stream.faces.signals import (
    KERNEL,
    LEFT,
    LIPS_APART,
    MAX_YAW_DEG,
    MIN_SPAN_PX,
    MOUTH,
    MOUTH_PART,
    RIGHT,
    STRIDE,
    WEIGHTS,
    SignalReader,
    Signals,
    face_axes,
    features,
)
from tests.scenes.heads import SIZE, draw
from tests.scenes.openness import ARCHIVES, labels, measure

DATA = Path(os.environ.get("DFER_SHARED_DATA") or Path(__file__).parents[4] / "shared" / "data")
POSES = [
    *(HeadPose(yaw, pitch, 0) for yaw, pitch in ((-30, 0), (-15, 0), (0, 0), (15, 0), (30, 0), (0, -30), (0, 30))),
    *(HeadPose(yaw, pitch, roll) for yaw, pitch, roll in ((20, 15, 0), (-20, -15, 0), (0, 0, 25), (0, 0, -25))),
    *(HeadPose(yaw, pitch, roll) for yaw, pitch, roll in ((20, -15, 20), (-20, 15, -20))),
]


@pytest.fixture(scope="module")
def net() -> LandmarkNet:
    return LandmarkNet()


@pytest.fixture(scope="module")
def reader() -> SignalReader:
    return SignalReader()


def landmarks(net: LandmarkNet, image: NDArray[np.uint8], roll_deg: float = 0.0) -> NDArray[np.float32]:
    region = Region(SIZE[0] / 2, SIZE[1] / 2, 310, float(np.radians(roll_deg)))
    for _ in range(3):
        points = net.run(image, region).points
        region = region_of_landmarks(points, 1.5)
    return points


@pytest.mark.parametrize("mirrored", [False, True])
def test_heads_of_known_pose_have_that_pose(net: LandmarkNet, mirrored: bool) -> None:
    pytest.importorskip("skimage", reason="scikit-image carries the photograph")
    errors = []
    for pose in POSES:
        truth = replace(pose, yaw_deg=-pose.yaw_deg, roll_deg=-pose.roll_deg) if mirrored else pose
        found = head_pose(landmarks(net, draw(pose, mirrored), truth.roll_deg))
        for angle, true in zip(astuple(found), astuple(truth), strict=True):
            assert abs(true) < 15 or angle * true > 0, (pose, found)
        errors.append(np.subtract(astuple(found), astuple(truth)))
    assert (np.median(np.abs(errors), axis=0) <= (6, 6, 2)).all()
    assert (np.abs(errors).max(axis=0) <= (12, 12, 6)).all()


def test_a_drawn_blink_shuts_both_eyes_and_opening_lips_open_the_mouth(net: LandmarkNet, reader: SignalReader) -> None:
    pytest.importorskip("skimage", reason="scikit-image carries the photograph")
    from tests.scenes.demo.portrait import load_portrait
    from tests.scenes.demo.render import Renderer

    renderer = Renderer(load_portrait(), (480, 480))

    def read(weights: dict[str, float], closed: float) -> Signals:
        drawn = np.clip(renderer.draw(weights, closed)[..., ::-1], 0, 255).astype(np.uint8)
        image = np.ascontiguousarray(drawn)
        points = landmarks(net, image)
        return reader.read(image, points, head_pose(points), 1.0)

    rest, shut, surprised = read({"neutral": 1.0}, 0), read({"neutral": 1.0}, 1), read({"surprise": 1.0}, 0)
    for eye in ("left_eye", "right_eye"):
        assert getattr(rest, eye) > 0.7
        assert getattr(shut, eye) < getattr(rest, eye) - 0.3  # drawn lids leave a slit
        assert getattr(surprised, eye) > 0.7
    assert rest.mouth is not None
    assert surprised.mouth is not None
    assert rest.mouth < LIPS_APART
    assert surprised.mouth > 3 * LIPS_APART


def test_left_and_right_are_the_persons_own(net: LandmarkNet, reader: SignalReader) -> None:
    """One eye of a straight head is painted shut: skin, and a dark line where the lids meet."""
    pytest.importorskip("skimage", reason="scikit-image carries the photograph")
    image = draw(HeadPose(0, 0, 0), face_px=260)
    points = landmarks(net, image)
    right = points[[33, 133, 159, 145], :2]  # the person's right eye, left in the image
    centre, width = right.mean(0), float(np.linalg.norm(right[0] - right[1]))
    x, y = (round(float(v)) for v in centre)
    skin = image[y + round(0.75 * width), x].tolist()
    mask = np.zeros(image.shape[:2], np.float32)
    cv2.ellipse(mask, (x, y), (round(0.62 * width), round(0.36 * width)), 0, 0, 360, 1.0, -1)
    weight = cv2.GaussianBlur(mask, (0, 0), 0.06 * width)[..., None]
    winking = image * (1 - weight) + np.array(skin) * weight
    line = np.zeros(image.shape[:2], np.float32)
    cv2.ellipse(line, (x, y), (round(0.5 * width), round(0.16 * width)), 0, 10, 170, 1.0, 2, cv2.LINE_AA)
    winked = np.clip(winking * (1 - 0.65 * line[..., None]), 0, 255).astype(np.uint8)
    points = landmarks(net, winked)
    found = reader.read(winked, points, head_pose(points), 1.0)
    assert found.right_eye is not None
    assert found.left_eye is not None
    assert found.right_eye < 0.4 < 0.7 < found.left_eye
    mirrored = np.ascontiguousarray(winked[:, ::-1])
    points = landmarks(net, mirrored)
    other = reader.read(mirrored, points, head_pose(points), 1.0)
    assert other.left_eye is not None
    assert other.right_eye is not None
    assert other.left_eye < 0.4 < 0.7 < other.right_eye


def test_what_cannot_be_judged_is_none(net: LandmarkNet, reader: SignalReader) -> None:
    pytest.importorskip("skimage", reason="scikit-image carries the photograph")
    image = draw(HeadPose(0, 0, 0))
    points = landmarks(net, image)
    straight = HeadPose(0, 0, 0)
    assert None not in astuple(reader.read(image, points, straight, 1.0))
    assert astuple(reader.read(image, points, straight, 0.5)) == (None, None, None)
    away = reader.read(image, points, HeadPose(MAX_YAW_DEG + 1, 0, 0), 1.0)
    # Turned to the image's right, the person's left eye is the far one.
    assert away.left_eye is None
    assert away.right_eye is not None
    back = reader.read(image, points, HeadPose(-MAX_YAW_DEG - 1, 0, 0), 1.0)
    assert back.right_eye is None
    assert back.left_eye is not None
    assert astuple(reader.read(image, points, HeadPose(70, 0, 0), 1.0)) == (None, None, None)
    assert astuple(reader.read(image, points, HeadPose(0, -60, 0), 1.0)) == (None, None, None)
    tiny = (points - points.mean(0)) * (0.9 * MIN_SPAN_PX / np.linalg.norm(points[33, :2] - points[263, :2])) + 240
    assert astuple(reader.read(image, tiny, straight, 1.0)) == (None, None, None)
    assert astuple(reader.read(image, np.full((468, 3), np.nan, np.float32), straight, 1.0)) == (None, None, None)
    edge = points - np.array([points[33, 0] - 2, 0, 0], np.float32)
    cut = reader.read(image, edge - np.array([10, 0, 0], np.float32), straight, 1.0)
    assert cut.right_eye is None
    assert cut.left_eye is not None


def test_what_the_nets_say_is_what_their_features_say(net: LandmarkNet, reader: SignalReader) -> None:
    """The reader takes the nets apart for speed; on the features that they learnt from they give the same."""
    pytest.importorskip("skimage", reason="scikit-image carries the photograph")
    with np.load(WEIGHTS, allow_pickle=False) as stored:
        weights = {key: stored[key] for key in stored}

    def eye(x: NDArray[np.float32]) -> float:
        hidden = np.vstack([weights["eye_shape"], weights["eye_hidden"]])
        return float(np.maximum(x @ hidden + weights["eye_hidden_bias"], 0) @ weights["eye_out"] + weights["eye_bias"])

    def mouth(x: NDArray[np.float32]) -> float:
        width, height = MOUTH_PART.patch
        patch, total = x[2 * len(MOUTH) :].reshape(height, width), float(weights["mouth_bias"])
        kernels, hidden = weights["mouth_kernels"], weights["mouth_hidden"]
        each, units = kernels.shape[1] // len(hidden), hidden.shape[2]
        for number in range(len(hidden)):
            edges = []
            for y in range(0, height - KERNEL + 1, STRIDE):
                for left in range(0, width - KERNEL + 1, STRIDE):
                    under = patch[y : y + KERNEL, left : left + KERNEL].ravel()
                    seen = under @ kernels + weights["mouth_kernels_bias"]
                    edges.append(np.maximum(seen[number * each : (number + 1) * each], 0))
            own = slice(number * units, (number + 1) * units)
            inner = np.concatenate(edges) @ hidden[number] + weights["mouth_hidden_bias"][own]
            inner = inner + x[: 2 * len(MOUTH)] @ weights["mouth_shape"][:, own]
            total += float(np.maximum(inner, 0) @ weights["mouth_out"][own])
        return total

    for pose in (HeadPose(0, 0, 0), HeadPose(15, 0, 0), HeadPose(0, 0, 25)):
        image = draw(pose)
        points = landmarks(net, image, pose.roll_deg)
        xy, found = points[:, :2], reader.read(image, points, pose, 1.0)
        axes = face_axes(xy)
        expected = eye(features(image, xy, axes, LEFT)), eye(features(image, xy, axes, RIGHT))
        assert (found.left_eye, found.right_eye) == pytest.approx(np.clip(expected, 0, 1), abs=2e-3)
        assert found.mouth == pytest.approx(np.clip(mouth(features(image, xy, axes, MOUTH_PART)), 0, 1), abs=2e-3)


@pytest.mark.parametrize(("part", "mouths"), [("choose", 0.91), ("test", 0.95), ("unseen", 0.93)])
def test_hand_labelled_eyes_and_mouths(part: str, mouths: float) -> None:
    if not all((DATA / archive).is_file() for archive in ARCHIVES.values()):
        pytest.skip(f"no faces in {DATA}: set DFER_SHARED_DATA to a folder that holds {', '.join(ARCHIVES.values())}")
    pytest.importorskip("skimage", reason="scikit-image carries one of the faces")
    found = measure(DATA, part)
    eyes, mouth = found["eyes"], found["mouth"]
    assert mouth.share >= mouths
    assert mouth.right >= 125
    assert mouth.unjudged == 0
    if part == "unseen":
        return
    judged = eyes.right + eyes.wrong
    assert judged >= 170
    assert eyes.share >= 0.95
    assert (eyes.right + mouth.right) / (judged + mouth.right + mouth.wrong) >= 0.945
    assert eyes.unjudged <= 0.1 * (judged + eyes.unjudged)


def test_the_labels_are_enough_and_both_kinds() -> None:
    eyes = [eye for label in labels() for eye in (label.right_eye, label.left_eye) if eye]
    assert len(eyes) >= 200
    assert 0.4 < eyes.count("shut") / len(eyes) < 0.6
    for part, least in (("test", 130), ("unseen", 230)):
        mouths = [label.mouth for label in labels() if label.mouth and label.part == part]
        assert len(mouths) >= least
        assert 0.4 < mouths.count("shut") / len(mouths) < 0.6
    assert len({(label.set, label.name) for label in labels()}) == len(labels())
