"""Recordings read in one process: whole ones, and what is said of those that are not."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from stream.camera import CameraError, CameraSettings
from stream.camera.recording import Recording
from tests.stream.camera.reading import EVERY, play, write_video


def test_frames_are_those_of_a_camera_that_skips_none(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", 12)
    expected, camera = play(path)
    with Recording(str(path), EVERY) as recording:
        frames = list(recording)
        assert (recording.opened.duration_s, recording.opened.fps) == (12 / 25, camera.stats.fps)
    assert recording.problem is None
    assert [f.seq for f in frames] == [f.seq for f in expected]
    assert [f.t_capture_ns for f in frames] == [f.t_capture_ns - 5_000_000_000 for f in expected]
    assert all((a.image == b.image).all() for a, b in zip(frames, expected, strict=True))


def test_a_folder_plays_at_the_rate_asked_for_and_once(tmp_path: Path) -> None:
    for n in range(3):
        cv2.imwrite(str(tmp_path / f"{n}.png"), np.full((20, 30, 3), n, np.uint8))
    with Recording(str(tmp_path), CameraSettings(fps=10, loop=True)) as recording:
        assert [f.t_capture_ns for f in recording] == [0, 100_000_000, 200_000_000]


def test_a_recording_cut_short_gives_what_there_is_and_says_so(tmp_path: Path) -> None:
    whole = write_video(tmp_path / "whole.avi", 60, size=(320, 240)).read_bytes()
    (tmp_path / "cut.avi").write_bytes(whole[: len(whole) // 2])
    with Recording(str(tmp_path / "cut.avi")) as recording:
        count = len(list(recording))
    assert 5 < count < 60
    assert recording.problem is not None
    assert recording.problem.startswith("cut short: ")
    assert recording.problem.endswith(f"{count} frames could be read")


def test_a_frame_that_breaks_ends_it_with_the_reason(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "1.png"), np.zeros((20, 20, 3), np.uint8))
    (tmp_path / "2.png").write_text("broken")
    with Recording(str(tmp_path)) as recording:
        assert len(list(recording)) == 1
    assert recording.problem is not None
    assert recording.problem.startswith("broken after 1 frames: ")
    assert "2.png" in recording.problem


def test_what_holds_no_frame_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    for name in ("absent.mp4", "text.mp4"):
        with pytest.raises(CameraError, match=name):
            Recording(str(tmp_path / name))
