"""Composed scowls: the warp moves brows and nothing below the nose."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from tests.scenes.scowls import relaxed
from train.data.layouts.ferplus import VOTES

BROW_ROW = 14


def _face() -> tuple[np.ndarray, np.ndarray]:
    """A grey still with a dark line where the brows are and another at the mouth, and its landmarks."""
    grey = np.full((48, 48), 180, np.uint8)
    grey[BROW_ROW - 1 : BROW_ROW + 1, 10:38] = 30
    grey[36:38, 18:30] = 60
    points = np.zeros((468, 2))
    points[[33, 133, 362, 263]] = [(11, 19), (19, 19), (29, 19), (37, 19)]
    points[[55, 107, 285, 336]] = [(20, BROW_ROW), (21, BROW_ROW), (28, BROW_ROW), (27, BROW_ROW)]
    points[[70, 105, 300, 334]] = [(11, BROW_ROW), (14, BROW_ROW), (37, BROW_ROW), (34, BROW_ROW)]
    points[[159, 386]] = [(15, 17), (33, 17)]
    points[[61, 291]] = [(18, 36), (30, 36)]
    return grey, points


def _brow(grey: np.ndarray, column: int) -> float:
    dark = 255.0 - grey[5:20, column]
    dark = np.clip(dark - 80, 0, None)
    return float((dark * np.arange(5, 20)).sum() / dark.sum())


def test_a_relaxed_face_has_its_brows_higher_and_its_mouth_where_it_was() -> None:
    grey, points = _face()
    calm, scowl = relaxed(grey, points, 1.0), relaxed(grey, points, -0.5)
    assert _brow(calm, 20) < _brow(grey, 20) - 1
    assert _brow(scowl, 20) > _brow(grey, 20) + 0.5
    # The inner ends move further than the outer ones.
    assert _brow(grey, 20) - _brow(calm, 20) > _brow(grey, 12) - _brow(calm, 12)
    assert (calm[30:] == grey[30:]).all()
    assert (relaxed(grey, points, 0.0) == grey).all()


def test_every_marked_scowl_is_an_angry_face_of_dev(shared_data: Path) -> None:
    with (shared_data / "ferplus" / "dev.csv").open(newline="", encoding="utf-8") as lines:
        rows = {row["name"]: row for row in csv.DictReader(lines)}
    marked = (Path(__file__).parent / "scowls.txt").read_text("utf-8").split()
    assert len(marked) == len(set(marked)) == 52
    for name in marked:
        votes = {column: int(rows[name][column]) for column in VOTES}
        assert max(votes, key=lambda column: votes[column]) == "anger"
        assert rows[name]["first_of_cluster"] == "1"
