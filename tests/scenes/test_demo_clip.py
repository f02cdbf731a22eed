"""The committed clip shows what clip.json says, and the script that made it is sound."""

from __future__ import annotations

import itertools
import json
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.scenes.demo.make_clip import DURATION_S, FPS, blink_at, main, view_at, weights_at

CLIP = Path(__file__).parents[2] / "stream" / "demo" / "clip.mp4"


def facts() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(CLIP.with_suffix(".json").read_text(encoding="utf-8"))
    return loaded


@cache
def decoded() -> tuple[NDArray[np.uint8], ...]:
    capture = cv2.VideoCapture(str(CLIP))
    found = []
    while True:
        ok, frame = capture.read()
        if not ok:
            break
        found.append(np.asarray(frame[..., ::-1], np.uint8))
    capture.release()
    return tuple(found)


@cache
def shape_of_face() -> dict[str, NDArray[np.float64]]:
    """Mean over each segment of mouth width, mouth opening, corner height, brow height, in eye distances."""
    mp = pytest.importorskip("mediapipe", reason="mediapipe 0.10.14 has no wheel above Python 3.12")

    rows: dict[str, list[list[float]]] = {}
    with mp.solutions.face_mesh.FaceMesh(static_image_mode=True, max_num_faces=1) as mesh:
        for segment in facts()["segments"]:
            for t_s in np.linspace(segment["start_s"] + 0.3, segment["end_s"] - 0.3, 2):
                image = decoded()[int(t_s * FPS)]
                face = mesh.process(np.ascontiguousarray(image)).multi_face_landmarks[0].landmark
                at = np.array([[p.x * image.shape[1], p.y * image.shape[0]] for p in face])
                left, right = at[[33, 133]].mean(0), at[[362, 263]].mean(0)
                x = (right - left) / np.linalg.norm(right - left)
                unit = float(np.linalg.norm(right - left))
                down = np.array([-x[1], x[0]])
                rows.setdefault(segment["expression"], []).append(
                    [
                        float((at[291] - at[61]) @ x) / unit,
                        float((at[14] - at[13]) @ down) / unit,
                        float((at[[13, 14]].mean(0) - at[[61, 291]].mean(0)) @ down) / unit,
                        float(((left + right) / 2 - at[[105, 334, 66, 296]].mean(0)) @ down) / unit,
                    ]
                )
    return {name: np.mean(values, 0) for name, values in rows.items()}


def test_committed_clip_is_small_and_has_the_stated_frames() -> None:
    stated = facts()
    assert CLIP.stat().st_size <= 2_000_000
    assert len(decoded()) == round(stated["duration_s"] * stated["fps"])
    assert decoded()[0].shape == (stated["height"], stated["width"], 3)


def test_committed_segments_are_those_of_the_script() -> None:
    segments = facts()["segments"]
    assert [s["expression"] for s in segments] == ["neutral", "happiness", "surprise", "sadness", "neutral"]
    for before, after in itertools.pairwise(segments):
        assert before["start_s"] < before["end_s"] < after["start_s"]
    for segment in segments:
        middle = (segment["start_s"] + segment["end_s"]) / 2
        assert weights_at(middle)[segment["expression"]] > 0.9


def test_face_in_the_clip_moves_as_stated() -> None:
    width, opening, corners_up, brow = 0, 1, 2, 3
    face = shape_of_face()
    neutral = face["neutral"]
    assert neutral[opening] < 0.08
    assert face["happiness"][width] > 1.15 * neutral[width]
    assert face["happiness"][corners_up] > neutral[corners_up] + 0.04
    assert face["surprise"][opening] > 0.2
    assert face["surprise"][brow] > neutral[brow] + 0.04
    assert face["sadness"][corners_up] < neutral[corners_up] - 0.01


def test_clip_loops_without_a_jump() -> None:
    a, b, c = (decoded()[k].astype(np.float32) for k in (-1, 0, 1))
    assert np.abs(a - b).mean() < 3 * np.abs(b - c).mean()


@given(st.floats(0, DURATION_S))
def test_weights_are_a_convex_mix_of_two_poses_at_most(t_s: float) -> None:
    weights = weights_at(t_s)
    assert len(weights) <= 2
    assert all(weight >= 0 for weight in weights.values())
    assert sum(weights.values()) == pytest.approx(1.0)
    assert 0 <= blink_at(t_s) <= 1


def test_motion_is_periodic() -> None:
    start, end = view_at(0.0), view_at(DURATION_S)
    for name in ("yaw_deg", "pitch_deg", "roll_deg", "head_x", "zoom", "look_x", "look_y", "camera_roll_deg"):
        assert getattr(start, name) == pytest.approx(getattr(end, name), abs=1e-6)


def test_frame_is_drawn_again_exactly_as_in_the_clip() -> None:
    pytest.importorskip("skimage", reason="scikit-image carries the photograph")
    from tests.scenes.demo.portrait import load_portrait
    from tests.scenes.demo.render import Renderer

    renderer = Renderer(load_portrait())
    t_s = 3.0
    picture = renderer.draw(weights_at(t_s), blink_at(t_s), view_at(t_s))
    again = renderer.draw(weights_at(t_s), blink_at(t_s), view_at(t_s))
    assert np.array_equal(picture, again)
    assert np.abs(picture[..., ::-1] - decoded()[round(t_s * FPS)]).mean() < 4.0


def test_wrong_name_is_refused_in_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("sys.argv", ["make_clip", str(tmp_path / "clip.avi")])
    assert main() == 2
    assert ".mp4" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
