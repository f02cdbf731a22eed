"""Shot cuts and camera motion: cuts fire, motion, flashes and fades do not."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from stream.faces.settings import FaceSettings
from stream.faces.tracking.cut import (
    HEIGHT,
    WIDTH,
    Change,
    CutDetector,
    correlation,
    histogram_distance,
    overlap,
    thumbnail,
)

THRESHOLD = FaceSettings().cut_similarity
Image = NDArray[np.uint8]


def world(seed: int, low: float = 20, high: float = 230) -> NDArray[np.float32]:
    """A wide picture with structure at several scales, larger than a frame."""
    random = np.random.default_rng(seed)
    total = np.zeros((960, 1280), np.float32)
    for cells, weight in ((4, 1.0), (10, 0.7), (40, 0.4)):
        coarse = random.normal(0, weight, (cells, cells)).astype(np.float32)
        total += cv2.resize(coarse, (1280, 960), interpolation=cv2.INTER_CUBIC)
    total = (total - total.min()) / (total.max() - total.min())
    return np.asarray(low + (high - low) * total, np.float32)


def view(source: NDArray[np.float32], x: float = 320, y: float = 240, gain: float = 1.0, seed: int = 0) -> Image:
    shift = np.array([[1, 0, -x], [0, 1, -y]], np.float64)
    frame = cv2.warpAffine(source, shift, (640, 480)) * gain
    noise = np.random.default_rng(seed).normal(0, 3, frame.shape)
    return np.repeat((frame + noise).clip(0, 255).astype(np.uint8)[..., None], 3, axis=2)


def play(frames: list[Image]) -> list[Change]:
    detector = CutDetector(THRESHOLD)
    return [detector.step(thumbnail(frame)) for frame in frames]


@pytest.mark.parametrize("seed", [0, 1, 2, 4, 5, 6, 7, 8])
def test_a_cut_fires_once_on_its_first_frame(seed: int) -> None:
    before, after = world(seed), world(seed + 100, 0, 140)
    frames = [view(before, seed=i) for i in range(6)] + [view(after, seed=i) for i in range(6)]
    assert [i for i, c in enumerate(play(frames)) if c.cut] == [6]


def test_a_cut_fires_on_the_second_frame_already_and_again_after_a_cut() -> None:
    frames = [view(world(seed, 20 * seed, 120 + 30 * seed)) for seed in (1, 2, 3)]
    assert [c.cut for c in play(frames)] == [False, True, True]


@pytest.mark.parametrize("speed", [5, 20, 60, 120])
def test_camera_motion_is_no_cut_and_is_measured(speed: int) -> None:
    source = world(3)
    frames = [view(source, 100 + (speed * i) % 500, 240, seed=i) for i in range(500 // speed)]
    changes = play(frames)
    assert not any(c.cut for c in changes)
    for change in changes[1:]:
        assert change.dx * 640 == pytest.approx(-speed, abs=4)
        assert change.dy * 480 == pytest.approx(0, abs=4)


def test_shake_is_no_cut() -> None:
    source, random = world(4), np.random.default_rng(1)
    steps = random.uniform(-60, 60, (40, 2))
    frames = [view(source, 320 + x, 240 + y, seed=i) for i, (x, y) in enumerate(steps)]
    assert not any(c.cut for c in play(frames))


@pytest.mark.parametrize("gain", [0.3, 0.6, 1.6, 2.5, 40.0])
def test_a_flash_or_a_lamp_is_no_cut(gain: float) -> None:
    source = world(5)
    gains = [1, 1, 1, gain, 1, 1, gain, gain, gain, 1]
    assert not any(c.cut for c in play([view(source, gain=g, seed=i) for i, g in enumerate(gains)]))


def test_a_blank_frame_says_nothing_and_the_shot_after_it_is_judged_against_the_one_before() -> None:
    blank = np.zeros((480, 640, 3), np.uint8)
    same, other = view(world(6)), view(world(206, 0, 120))
    assert [c.cut for c in play([same, same, blank, blank, same])] == [False] * 5
    assert [c.cut for c in play([same, same, blank, blank, other])] == [False] * 4 + [True]


@pytest.mark.parametrize("before", [1, 2, 6])
def test_one_frame_unlike_both_its_neighbours_is_taken_back(before: int) -> None:
    source = world(9)
    frames = [view(source, 300 + 4 * i, seed=i) for i in range(before)]
    frames += [view(world(209, 0, 120)), view(source, 300 + 4 * (before + 1)), view(source, 300 + 4 * (before + 2))]
    changes = play(frames)
    assert [(c.cut, c.revoked) for c in changes[before:]] == [(True, False), (False, True), (False, False)]
    # From the frame before the bad one: two steps of the camera.
    assert changes[before + 1].dx * 640 == pytest.approx(-8, abs=4)


def test_a_shot_of_two_frames_is_a_shot() -> None:
    a, b = world(10), world(210, 0, 120)
    changes = play([view(a), view(a), view(a), view(b), view(b), view(a), view(a)])
    assert [c.cut for c in changes] == [False, False, False, True, False, True, False]
    assert not any(c.revoked for c in changes)


def test_two_cuts_in_a_row_stay_cuts() -> None:
    changes = play([view(world(s, 20 * s, 120 + 30 * s)) for s in (1, 1, 2, 3)])
    assert [(c.cut, c.revoked) for c in changes[2:]] == [(True, False), (True, False)]


def test_a_test_card_that_stays_is_a_cut_one_frame_late() -> None:
    card = np.zeros((480, 640, 3), np.uint8)
    card[:, 80:240] = card[200:300, 400:] = 230
    assert [c.cut for c in play([view(world(6))] * 3 + [card] * 3)] == [False] * 4 + [True, False]


def test_a_dissolve_is_no_cut_in_its_middle() -> None:
    a, b = world(7), world(207)
    frames = [view(a * (1 - k / 20) + b * (k / 20), seed=k) for k in range(21)]
    assert not any(c.cut for c in play(frames))


def test_cuts_can_be_turned_off() -> None:
    detector = CutDetector(-1.0)
    assert not any(detector.step(thumbnail(view(world(s, 20 * s, 120 + 30 * s)))).cut for s in (1, 2, 3))


def test_stepping_leaves_the_thumbnail_alone() -> None:
    detector = CutDetector(THRESHOLD)
    first, second = thumbnail(view(world(8))), thumbnail(view(world(8), 360))
    kept = first.copy(), second.copy()
    detector.step(first)
    detector.step(second)
    np.testing.assert_array_equal(first, kept[0])
    np.testing.assert_array_equal(second, kept[1])


@given(st.floats(0.2, 3), st.floats(-50, 50), st.integers(0, 99))
@settings(max_examples=30)
def test_correlation_ignores_gain_and_offset(gain: float, offset: float, seed: int) -> None:
    a = np.random.default_rng(seed).uniform(0, 255, (HEIGHT, WIDTH)).astype(np.float32)
    assert correlation(a, a * np.float32(gain) + np.float32(offset)) == pytest.approx(1, abs=1e-3)
    assert histogram_distance(a, a + np.float32(offset)) == pytest.approx(0, abs=1e-2)


@given(st.integers(-20, 20), st.integers(-20, 20))
def test_overlap_lines_up_a_shift(dx: int, dy: int) -> None:
    source = np.random.default_rng(0).uniform(0, 255, (HEIGHT + 40, WIDTH + 40)).astype(np.float32)
    a = source[20 : 20 + HEIGHT, 20 : 20 + WIDTH]
    b = source[20 - dy : 20 - dy + HEIGHT, 20 - dx : 20 - dx + WIDTH]
    np.testing.assert_array_equal(*overlap(a, b, dx, dy))


@pytest.mark.parametrize("shape", [(480, 640), (720, 1280), (1080, 1920), (60, 80), (288, 360), (640, 360)])
def test_thumbnails_have_one_size(shape: tuple[int, int]) -> None:
    assert thumbnail(np.zeros((*shape, 3), np.uint8)).shape == (HEIGHT, WIDTH)
