"""The composed sequences: what turns into what, and when it is said to begin."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from calibration.metrics.dynamics import REST
from tests.scenes.marked.compose import FPS, HOW, SIZE, Still, Stretch, compose, degraded, frames, morph, segments_of

RNG = np.random.default_rng(0)


def still(level: float, dx: float = 0.0) -> Still:
    """A square on a dark canvas, its corners the handles."""
    canvas = np.full((SIZE[1], SIZE[0]), 20, np.float32)
    left = round(140 + dx)
    canvas[100:180, left : left + 80] = level
    points = np.array([[left, 100], [left + 80, 100], [left, 180], [left + 80, 180]], np.float64)
    return Still(canvas, points)


def test_halfway_a_face_is_halfway_in_shade_and_place() -> None:
    mixed = morph(still(100, -20), still(200, 20), 0.5)
    assert mixed[140, 180] == pytest.approx(150, abs=2)
    # The square of before has come 20 px towards that of after: neither edge is doubled.
    assert mixed[140, 130] == pytest.approx(20, abs=3)
    assert mixed[140, 145] == pytest.approx(150, abs=5)


def test_a_sequence_lasts_as_long_as_its_stretches_and_its_marks_say_so() -> None:
    sequence = [
        Stretch(still(80), REST, 1.0, 0.0),
        Stretch(still(200), "fear", 1.0, 0.4),
        Stretch(still(80), REST, 1.0, 0.0),
    ]
    shot = list(frames(sequence, RNG))
    assert len(shot) == 3 * FPS
    assert shot[0].shape == (SIZE[1], SIZE[0], 3)
    rest, fear, again = segments_of("a", "choose", "ann", sequence)
    # Rest ends where the face begins to move; the expression is there from half of the turn on.
    assert rest == ["a", "0.00", "1.00", REST, "choose", "ann"]
    assert fear[1:4] == ["1.20", "2.00", "fear"]
    assert again[1:3] == ["2.00", "3.00"]


@pytest.mark.parametrize("how", HOW)
def test_a_degraded_copy_is_another_picture_of_the_same_size(how: str) -> None:
    (frame,) = list(frames([Stretch(still(150), REST, 1 / FPS, 0.0)], RNG))
    copy = degraded(frame, how, RNG)
    assert copy.shape == frame.shape
    assert copy.dtype == np.uint8
    assert np.abs(copy.astype(int) - frame).mean() > 0.5


def test_people_are_for_choosing_or_for_checking(
    shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = two_sequences(monkeypatch)
    assert compose(shared_data, tmp_path, 1) == 2 * made
    with (tmp_path / "segments.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    parts: dict[str, set[str]] = {}
    for row in rows:
        parts.setdefault(row["person"], set()).add(row["part"])
    assert all(len(each) == 1 for each in parts.values())
    assert {row["part"] for row in rows} == {"choose", "check"}


def two_sequences(monkeypatch: pytest.MonkeyPatch) -> int:
    """Two sequences are enough: by people who voted for, none of photographs, no grimaces."""
    monkeypatch.setattr("tests.scenes.marked.compose.photographs", lambda *_: iter(()))
    monkeypatch.setattr("tests.scenes.marked.compose.restless", lambda *_: iter(()))
    monkeypatch.setattr("tests.scenes.marked.compose.FER_SEQUENCES", 2)
    return 2
