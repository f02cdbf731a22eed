"""Copies are known as copies, however they were made; other clips of the same person in the same room are not."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.train.data.own.clips import Picture, draw, write
from train.data.own.likeness import FRAMES, SIDE, Likeness, file_hash, look_of, pack, twins, unpack
from train.data.record import Clip


def of(path: Path, frames: int = 12) -> Likeness:
    clip = Clip(path.name, path, "fear")
    return Likeness(path.name, file_hash(path), look_of(clip, frames))


def shrunk(frame: Picture) -> Picture:
    return np.asarray(cv2.resize(frame, (80, 60), interpolation=cv2.INTER_AREA), np.uint8)


def test_copies_are_twins_and_other_takes_are_not(tmp_path: Path) -> None:
    frames = draw("ann", "one")
    original = of(write(tmp_path / "original.mp4", frames))
    same = tmp_path / "same.mp4"
    same.write_bytes((tmp_path / "original.mp4").read_bytes())
    copies = [
        of(same),
        of(write(tmp_path / "worse.avi", frames, "mjpeg", "20")),
        of(write(tmp_path / "small.mp4", [shrunk(f) for f in frames])),
        of(write(tmp_path / "mirrored.mp4", [np.ascontiguousarray(f[:, ::-1]) for f in frames])),
        of(write(tmp_path / "dark.mp4", [(f * 0.6).astype(np.uint8) for f in frames])),
    ]
    others = [of(write(tmp_path / f"{n}.mp4", draw("ann", f"take {n}"))) for n in range(6)]
    found = twins([original], [*copies, *others])
    assert [pair.second for pair in found] == [copy.name for copy in copies]
    assert [pair.same_bytes for pair in found] == [True, False, False, False, False]
    assert str(found[0]) == "original.mp4 is the same file as same.mp4"
    assert str(found[1]) == "original.mp4 shows the same as worse.avi"
    assert twins(others) == []


def test_without_a_look_only_equal_files_are_twins() -> None:
    found = twins([Likeness("a", "1", None), Likeness("b", "2", None), Likeness("c", "1", None)])
    assert [(pair.first, pair.second, pair.same_bytes) for pair in found] == [("a", "c", True)]


def test_another_sentence_before_the_same_camera_is_no_copy() -> None:
    rng = np.random.default_rng(0)
    room = rng.integers(0, 200, (SIDE, SIDE + 1)).astype(np.float32)
    first, second = (room + rng.normal(0, 3, (FRAMES, SIDE, SIDE + 1)) for _ in range(2))
    noisy = first * 0.8 + rng.normal(0, 0.5, first.shape)

    def likeness(name: str, levels: np.ndarray) -> Likeness:
        return Likeness(name, name, levels.clip(0, 255).astype(np.uint8))

    found = twins([likeness("first", first)], [likeness("second", second), likeness("noisy", noisy)])
    assert [pair.second for pair in found] == ["noisy"]
    # Where nothing moves, nothing but the picture can decide.
    still = [likeness(name, np.repeat(room[None], FRAMES, 0)) for name in "ab"]
    assert len(twins(still)) == 1


def test_a_look_is_kept_as_text() -> None:
    look = np.random.default_rng(1).integers(0, 256, (FRAMES, SIDE, SIDE + 1), np.uint8)
    np.testing.assert_array_equal(unpack(pack(look)), look)
    with pytest.raises(ValueError, match="reshape"):
        unpack("00")
