"""Composed clips: the truth they state is the truth of their frames."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.train.drawn_stills import drawn_stills
from train.data.augment.compose import (
    MORPH_STEPS,
    Clips,
    FeatureBank,
    build_bank,
    compose,
    compose_morphs,
    noisy_order,
    pad_prefixes,
)
from train.models.compact.encoder import CompactEncoder, FrameClassifier
from train.models.compact.shape import EncoderConfig

FACES, VIEWS = 60, 3


@pytest.fixture(scope="module")
def bank() -> FeatureBank:
    """A bank whose features say which still they come from, and whether it was degraded."""
    label = np.arange(FACES) % 7
    targets = np.eye(7, dtype=np.float32)[label]
    targets[::10] = 1 / 7  # ambiguous
    clean = np.zeros((FACES, VIEWS, 2), np.float32)
    clean[..., 0] = np.arange(FACES)[:, None]
    poor = clean.copy()
    poor[..., 1] = 1
    ends = np.stack([np.flatnonzero(label == 2)[:5], np.flatnonzero(label == 0)[:5]], 1)
    fades = np.zeros((5, 5, 2), np.float32)
    fades[..., 1] = np.linspace(0, 1, 5)
    return FeatureBank(clean, poor, np.zeros((FACES, VIEWS, 7), np.float32), targets, label, fades, ends)


@given(window=st.integers(1, 32), runs=st.integers(0, 4), data=st.data())
def test_noise_is_as_long_as_asked(window: int, runs: int, data: st.DataObject) -> None:
    noise = data.draw(st.integers(0, window)) if runs else 0
    order = noisy_order(window, noise, runs, np.random.default_rng(0))
    assert order.shape == (window,)
    assert (order >= 0).sum() == noise
    for run in range(min(runs, noise)):
        places = np.flatnonzero(order == run)
        assert len(places) >= 1
        assert np.ptp(places) == len(places) - 1  # one piece


def test_truth_names_the_faces_own_frames(bank: FeatureBank) -> None:
    faces = np.arange(FACES)
    clips = compose(bank, faces, np.full(FACES, 8), np.random.default_rng(1))
    source = clips.features[..., 0].astype(int)
    assert (clips.truth.sum(1) == 8).all()
    assert ((source == faces[:, None]) == clips.truth).all()
    np.testing.assert_array_equal(clips.frame_target, bank.targets[source])
    np.testing.assert_array_equal(clips.target, bank.targets[faces])


def test_noise_is_of_its_kind(bank: FeatureBank) -> None:
    clips = compose(bank, np.tile(np.arange(FACES), 4), np.full(4 * FACES, 6), np.random.default_rng(2))
    for row in range(len(clips.kind)):
        noise = clips.features[row][~clips.truth[row]]
        source = noise[:, 0].astype(int)
        if clips.kind[row] == 0:
            assert (bank.label[source] == 2).all()
        elif clips.kind[row] == 1:
            assert (source % 10 == 0).all()
        assert (noise[:, 1] == (clips.kind[row] == 2)).all()


def test_the_kind_of_noise_says_nothing_about_the_label(bank: FeatureBank) -> None:
    faces = np.tile(np.arange(FACES), 40)
    kind = compose(bank, faces, np.full(len(faces), 1), np.random.default_rng(3)).kind
    table = np.array([[((bank.label[faces] == c) & (kind == k)).sum() for k in range(3)] for c in range(7)])
    share = table / table.sum(1, keepdims=True)
    assert np.abs(share - 1 / 3).max() < 0.1


def test_equal_seeds_compose_equal_clips(bank: FeatureBank) -> None:
    one, two = (compose_morphs(bank, 9, np.random.default_rng(4)) for _ in range(2))
    for name in Clips.__dataclass_fields__:
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))


def test_morphs_carry_their_expression_where_they_show_it(bank: FeatureBank) -> None:
    clips = compose_morphs(bank, 64, np.random.default_rng(5))
    shown = clips.features[..., 1] >= 0.5
    carries = shown.sum(1) * 4 >= 16
    assert carries.any()
    assert not carries.all()
    np.testing.assert_array_equal(clips.truth, np.where(carries[:, None], shown, ~shown))


def test_young_windows_repeat_their_oldest_frame(bank: FeatureBank) -> None:
    clips = compose(bank, np.arange(FACES), np.full(FACES, 4), np.random.default_rng(6))
    young = pad_prefixes(clips, 1.0, np.random.default_rng(7))
    for row in range(FACES):
        frames = young.features[row, :, 0]
        length = 16 - int((frames == frames[0]).argmin() if (frames != frames[0]).any() else 0)
        assert length >= 1
        assert young.truth[row].any()
        kept = next(n for n in range(1, 17) if np.array_equal(young.features[row, 16 - n :], clips.features[row, :n])
                    and (frames[: 16 - n] == clips.features[row, 0, 0]).all())  # fmt: skip
        assert 1 <= kept < 16


def test_a_bank_is_the_same_on_one_thread_and_on_three() -> None:
    torch.manual_seed(0)
    model = FrameClassifier(CompactEncoder(EncoderConfig(size_px=40, widths=(8,), depths=(1,), feature=16)), 7)
    stills = drawn_stills(300)
    before = torch.get_num_threads()
    banks = []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            banks.append(build_bank(model, stills, 40, 2, 2, 150, seed=5))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    one, three = banks
    assert one.clean.shape == one.poor.shape == (len(stills), 2, 16)
    assert one.morphs.shape == (150, MORPH_STEPS, 16)
    for name in ("clean", "poor", "logits", "morphs", "morph_ends"):
        np.testing.assert_array_equal(getattr(one, name), getattr(three, name))
    # The first clean look is the still itself; every disturbed one is another.
    assert not np.isclose(one.clean[:, 0], one.clean[:, 1]).all(1).any()
    assert not np.isclose(one.poor[:, 0], one.poor[:, 1]).all(1).any()
    np.testing.assert_allclose(one.morphs[:, 0], one.clean[one.morph_ends[:, 0], 0], atol=1e-4)
