"""Real clips: one face keeps one id. They are not part of the project; where they are absent the tests are skipped."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from stream.faces import FacesResult, FaceTracker

DATA = Path(os.environ.get("DFER_SHARED_DATA") or Path(__file__).parents[4] / "shared" / "data") / "video"
ONE_FACE = {
    "grid_bbaf2n.mpg": 75,
    "grid_lwbsza.mpg": 75,
    "pyfeat_single_face.mp4": 72,
    "intel_head-pose-face-detection-female.gif": 23,
    "intel_head-pose-face-detection-male.gif": 62,
    "intel_asl_thanks.mkv": 51,
}


def play(tracker: FaceTracker, name: str) -> list[FacesResult]:
    path = DATA / name
    if not path.is_file():
        pytest.skip(f"{name} is not here: set DFER_SHARED_DATA to a folder that holds video/{name}")
    capture = cv2.VideoCapture(str(path))
    fps = capture.get(cv2.CAP_PROP_FPS)
    results: list[FacesResult] = []
    while True:
        ok, image = capture.read()
        if not ok:
            break
        rgb = np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)
        results.append(tracker.step(rgb, round((len(results) + 1) * 1e9 / fps)))
    capture.release()
    return results


def ids(results: list[FacesResult]) -> set[str]:
    return {face.id for result in results for face in result.faces}


@pytest.mark.parametrize("name", ONE_FACE)
def test_one_face_keeps_one_id_in_every_frame(tracker: FaceTracker, name: str) -> None:
    results = play(tracker, name)
    assert len(results) == ONE_FACE[name]
    assert len(ids(results)) == 1
    assert not any(result.cut for result in results)
    assert all(face.state in ("new", "tracked") for result in results for face in result.faces)
    assert all(len(result.faces) == 1 for result in results)


def test_a_face_then_none(tracker: FaceTracker) -> None:
    results = play(tracker, "pyfeat_face_noface.mov")
    assert len(ids(results)) == 1
    cuts = [i for i, result in enumerate(results) if result.cut]
    assert cuts == [73]
    assert [face.state for face in results[73].faces] == ["lost"]
    assert not any(result.faces for result in results[74:])


def test_three_people_walk_up_and_keep_their_ids(tracker: FaceTracker) -> None:
    results = play(tracker, "intel_face-demographics-walking-and-pause.gif")
    assert len(ids(results)) == 3
    assert all(len(result.faces) == 3 for result in results[5:])


def test_cuts_reset_ids(tracker: FaceTracker) -> None:
    results = play(tracker, "hamilton_short.mp4")
    cuts = [i for i, result in enumerate(results) if result.cut]
    assert cuts == [20, 82, 211]
    bounds = [0, *cuts, len(results)]
    shots = [{f.id for r in results[a:b] for f in r.faces if f.state != "lost"} for a, b in itertools.pairwise(bounds)]
    for i, shot in enumerate(shots):
        assert not any(shot & other for other in shots[i + 1 :])
    assert len(shots[2]) == 1
