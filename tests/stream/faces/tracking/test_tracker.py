"""The tracker with its real nets on scripted scenes with known geometry."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from stream.faces import FaceSettings, FaceTracker
from tests.scenes.faces import Pose, Scene, scenes
from tests.scenes.faces_benchmark import hits, reference_points, run_scene, true_points


@pytest.fixture(scope="module")
def reference(loaded_tracker: FaceTracker) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    loaded_tracker.begin()
    return reference_points(loaded_tracker)


Points = np.ndarray[tuple[int, ...], np.dtype[np.float64]]
CLIPS = scenes()


@pytest.mark.parametrize(
    ("name", "frames", "error_px", "recall"),
    [
        ("static", 8, 0.6, 1.0),
        ("slow pan", 12, 0.9, 1.0),
        ("fast pan", 34, 1.5, 1.0),
        ("40 px face", 15, 2.0, 0.96),
        ("roll 60", 45, 1.2, 1.0),
        ("heavy shake", 20, 1.2, 0.97),
        ("occlusion", 52, 1.0, 0.75),
        ("passing", 75, 1.5, 0.75),
        ("crossing", 100, 2.0, 0.8),
        ("two, shaking", 20, 1.8, 0.95),
    ],
)
def test_one_id_per_person_and_an_exact_crop(
    tracker: FaceTracker, reference: Points, name: str, frames: int, error_px: float, recall: float
) -> None:
    clip = replace(CLIPS[name], frames=frames)
    score = run_scene(tracker, clip, reference)
    assert score.switches == 0
    assert score.ids == len(clip.poses(0))
    assert score.error_px < error_px
    assert score.recall >= recall


def test_states_of_a_face_that_comes_hides_and_goes(tracker: FaceTracker) -> None:
    board = (200, 100, 240, 280)
    clip = Scene("hides", 100, lambda _: [Pose(320, 240, 110)], cover=lambda i: board if i >= 20 else None)
    states: list[str] = []
    ids: set[str] = set()
    for t_ns, image, _ in clip:
        result = tracker.step(image, t_ns)
        states += [face.state for face in result.faces]
        ids |= {face.id for face in result.faces}
        for face in result.faces:
            visible = face.state in ("new", "tracked")
            assert (face.landmarks is not None) == (face.points5 is not None) == visible
            assert (face.yaw_deg is not None) == (face.pitch_deg is not None) == (face.sharpness is not None) == visible
            if face.landmarks is not None:
                assert face.landmarks.shape == (468, 2)
                assert face.landmarks.dtype == np.float32
        assert result.detect_ms > 0 or not result.detected
        assert (result.landmark_ms > 0) or not result.faces
        if len(states) > 20 and states[-1] == "lost":
            break
    assert states[0] == "new"
    assert states[1:20] == ["tracked"] * 19
    assert states[-1] == "lost"
    assert set(states[20:-1]) == {"coasting"}
    assert 10 <= len(states[20:-1]) <= 20
    assert len(ids) == 1


def test_a_cut_gives_up_every_face_and_gives_new_ids(tracker: FaceTracker) -> None:
    first = replace(CLIPS["static"], frames=4)
    frames = [image for _, image, _ in first]
    other = next(iter(Scene("other", 1, lambda _: [Pose(150, 140, 80, 0, True)])))[1]
    other = np.ascontiguousarray(255 - other[::-1, ::-1] // 2)  # another place, other light, no face
    assert not any(tracker.step(f, (i + 1) * 10**7).cut for i, f in enumerate(frames))
    before = tracker.step(frames[-1], 10**9).faces[0].id
    cut = tracker.step(other, 10**9 + 10**7)
    assert cut.cut
    assert [(f.id, f.state) for f in cut.faces] == [(before, "lost")]
    assert not tracker.step(other, 10**9 + 2 * 10**7).cut
    back = tracker.step(frames[-1], 10**9 + 3 * 10**7)
    assert back.cut
    assert [f.state for f in back.faces] == ["new"]
    assert back.faces[0].id != before


def one_bad_frame(name: str, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """What a camera or a cable makes of one frame."""
    bad = image.copy()
    height, width = image.shape[:2]
    if name == "three quarters grey":
        bad[height // 4 :] = 128
    elif name == "noise":
        bad = np.random.default_rng(0).integers(0, 256, image.shape, np.uint8)
    elif name == "black":
        bad[:] = 0
    elif name == "test card":
        for bar, colour in enumerate(((235, 235, 235), (235, 235, 0), (0, 235, 235), (0, 235, 0), (235, 0, 0))):
            bad[:, bar * width // 5 : (bar + 1) * width // 5] = colour
    else:  # another picture, as of another camera
        bad = np.ascontiguousarray(255 - image[::-1, ::-1] // 2)
    return bad


@pytest.mark.parametrize("name", ["three quarters grey", "noise", "black", "test card", "another picture"])
@pytest.mark.parametrize("speed", [0, 6])
def test_one_bad_frame_costs_no_id(tracker: FaceTracker, name: str, speed: float) -> None:
    frames = list(Scene("walks", 20, lambda i: [Pose(280 + speed * i, 240, 110)], noise=2.0))
    states: dict[int, list[tuple[str, str]]] = {}
    for i, (t_ns, image, _) in enumerate(frames):
        result = tracker.step(one_bad_frame(name, image) if i == 12 else image, t_ns)
        states[i] = [(face.id, face.state) for face in result.faces]
    (face_id, _), *_ = states[11]
    assert states[12] == [(face_id, "lost" if name == "another picture" else "coasting")]
    assert all(states[i] == [(face_id, "tracked")] for i in range(13, 20))


def test_a_new_frame_size_starts_anew(tracker: FaceTracker) -> None:
    small = next(iter(CLIPS["static"]))[1]
    large = next(iter(replace(CLIPS["static"], size=(800, 600))))[1]
    before = tracker.step(small, 1).faces[0].id
    result = tracker.step(large, 2)
    assert result.cut
    assert {f.state for f in result.faces} == {"new", "lost"}
    assert {f.id for f in result.faces if f.state == "lost"} == {before}


def test_reset_forgets_faces_but_not_the_ids_it_gave(tracker: FaceTracker) -> None:
    image = next(iter(CLIPS["static"]))[1]
    before = tracker.step(image, 10**9).faces[0].id
    tracker.reset()
    after = tracker.step(image, 1).faces[0]  # time may start anew
    assert after.state == "new"
    assert int(after.id[1:]) == int(before[1:]) + 1


def test_a_long_gap_gives_up_every_face(tracker: FaceTracker) -> None:
    image = next(iter(CLIPS["static"]))[1]
    before = tracker.step(image, 1).faces[0].id
    states = {f.id: f.state for f in tracker.step(image, 4 * 10**9).faces}
    assert states.pop(before) == "lost"
    assert list(states.values()) == ["new"]


def test_max_faces_is_kept() -> None:
    tracker = FaceTracker(FaceSettings(max_faces=1))
    clip = Scene("two", 12, lambda _: [Pose(180, 240, 80), Pose(450, 240, 120, 0, True)])
    for t_ns, image, _ in clip:
        faces = tracker.step(image, t_ns).faces
        assert len(faces) == 1
    assert abs(faces[0].box[0] + faces[0].box[2] / 2 - 450) < 40  # the larger one


def test_small_faces_are_found_by_tiles_only(tracker: FaceTracker) -> None:
    clip = list(Scene("small", 10, lambda _: [Pose(150, 120, 24)], noise=1.0))
    assert max(len(tracker.step(image, t).faces) for t, image, _ in clip) == 1
    without = FaceTracker(FaceSettings(small_faces=False))
    assert not any(without.step(image, t).faces for t, image, _ in clip)


def test_background_alone_gives_no_face(tracker: FaceTracker) -> None:
    for t_ns, image, _ in Scene("empty", 25, lambda _: []):
        assert tracker.step(image, t_ns).faces == []


def test_the_same_frames_give_the_same_answers_of_a_new_tracker_and_of_one_begun_anew(tracker: FaceTracker) -> None:
    frames = list(replace(CLIPS["slow pan"], frames=8))
    runs = []
    for each in (FaceTracker(), tracker, tracker):
        each.begin()
        runs.append([each.step(image, t).faces[0] for t, image, _ in frames])
    for a, b, c in zip(*runs, strict=True):
        assert (a.id, a.box) == (c.id, c.box)
        assert a.box == b.box
        assert a.points5 is not None
        assert b.points5 is not None
        np.testing.assert_array_equal(a.points5, b.points5)


def test_a_frame_that_is_no_rgb_image_is_refused(tracker: FaceTracker) -> None:
    with pytest.raises(ValueError, match="uint8 RGB"):
        tracker.step(np.zeros((10, 10), np.uint8), 1)


def test_hits_count_a_face_for_its_nearest_person_only(tracker: FaceTracker, reference: Points) -> None:
    t_ns, image, matrices = next(iter(CLIPS["static"]))
    result = tracker.step(image, t_ns)
    truth = true_points(reference, matrices[0])
    assert set(hits(result, [truth, truth + [60.0, 0.0]])) == {0}
