"""Probes change the part of a face that they name, each time alike, and never the picture they were given."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from tests.train.drawn_stills import POINTS
from train.evaluation.probes import CLEAN, PROBES, Grey, Probe

BY_NAME = {probe.name: probe for probe in PROBES}


def _face(size: int = 48) -> Grey:
    rough = np.random.default_rng(3).integers(60, 190, (12, 12)).astype(np.uint8)
    return np.asarray(cv2.resize(rough, (size, size), interpolation=cv2.INTER_CUBIC), np.uint8)


def _changed(probe: Probe, face: Grey, scale: float = 1.0) -> Grey:
    return probe.change(face, POINTS * np.float32(scale), np.random.default_rng(1))


@pytest.mark.parametrize("probe", PROBES, ids=lambda probe: probe.name)
def test_a_probe_changes_a_copy_and_repeats(probe: Probe) -> None:
    face = _face()
    kept = face.copy()
    once, twice = _changed(probe, face), _changed(probe, face)
    assert (face == kept).all()
    assert (once == twice).all()
    assert once.dtype == np.uint8
    assert once.shape == ((24, 24) if probe.name == "24 px" else (48, 48))
    assert once.shape != face.shape or np.abs(once.astype(int) - face).mean() > 1
    assert (_changed(CLEAN, face) == face).all()


def _moved(probe: str) -> np.ndarray:
    face = _face()
    return np.abs(_changed(BY_NAME[probe], face).astype(int) - face)


def test_glasses_hide_eyes_and_leave_the_mouth() -> None:
    moved = _moved("sunglasses")
    (left, top), (right, _) = POINTS[:2].round().astype(int)
    assert (moved[top - 3 : top + 4, [left, right]] > 30).all()
    assert (moved[33:] == 0).all()


def test_a_mask_hides_nose_and_mouth_and_leaves_the_eyes() -> None:
    moved = _moved("mask")
    assert (moved[:22] == 0).all()
    for x, y in POINTS[2:].round().astype(int):
        assert moved[y, x] > 0
    covered = _changed(BY_NAME["mask"], _face())[28:46, 14:34]
    assert covered.std() < 15


def test_a_half_shadow_darkens_one_half() -> None:
    face = _face()
    dark = _changed(BY_NAME["half shadow 0.1"], face).astype(float) / face
    assert dark[:, :14].max() < 0.15
    assert dark[:, 36:].min() > 0.95


@pytest.mark.parametrize("name", ["blur 1 px", "motion blur 7 px", "half shadow 0.25", "mask", "sunglasses"])
def test_a_larger_picture_of_the_face_is_changed_as_much(name: str) -> None:
    small, large = _face(48), _face(96)
    one = _changed(BY_NAME[name], small)
    two = cv2.resize(_changed(BY_NAME[name], large, 2.0), (48, 48), interpolation=cv2.INTER_AREA)
    assert np.abs(one.astype(int) - two).mean() < 4
