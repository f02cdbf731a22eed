"""Which frames a window is made of."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from train.data import sampling

SHAPES = st.sampled_from([(1, 16), (4, 4), (8, 1), (2, 8), (1, 1), (16, 1)])


def reference_centre(n: int, samples: int) -> list[int]:
    tick = n / samples
    return [int(tick / 2 + tick * i) for i in range(samples)]


@given(n=st.integers(1, 400), shape=SHAPES, seed=st.integers(0, 9))
def test_indices_are_in_range_and_never_go_back(n: int, shape: tuple[int, int], seed: int) -> None:
    unit, window = shape
    for indices in (
        sampling.centre_indices(n, unit, window),
        sampling.random_indices(n, unit, window, np.random.default_rng(seed)),
        sampling.centre_indices(n, unit, window, "paper-protocol"),
    ):
        assert indices.shape == (unit * window,)
        assert indices.min() >= 0
        assert indices.max() < n
        # Only a repeated first unit may go back to its own start.
        steps = np.diff(indices.reshape(window, unit), axis=1)
        assert (steps >= 0).all()
        assert (np.diff(indices[::unit]) >= 0).all()


@given(n=st.integers(16, 500), samples=st.sampled_from([8, 16]))
def test_long_clips_follow_the_published_rules(n: int, samples: int) -> None:
    assert sampling.centre_indices(n, 1, samples).tolist() == reference_centre(n, samples)
    drawn = sampling.random_indices(n, 1, samples, np.random.default_rng(n))
    segment = n // samples
    assert ((drawn // segment).clip(max=samples - 1) == np.arange(samples)).all()


@given(n=st.integers(1, 15))
def test_short_clips_repeat_the_oldest_at_the_front_and_keep_every_frame(n: int) -> None:
    for unit, window in ((1, 16), (4, 4)):
        indices = sampling.centre_indices(n, unit, window)
        assert set(indices.tolist()) == set(range(n))
        assert indices[-1] == n - 1
        assert indices[0] == 0
    assert sampling.centre_indices(n, 1, 16).tolist() == [0] * (16 - n) + list(range(n))
    assert sampling.centre_indices(n, 1, 16, "paper-protocol").tolist() == list(range(n)) + [n - 1] * (16 - n)


def test_a_partial_unit_is_filled_at_its_front_and_the_first_unit_fills_the_window() -> None:
    assert sampling.centre_indices(6, 4, 4).tolist() == [0, 0, 0, 1] * 3 + [2, 3, 4, 5]


@given(seed=st.integers(0, 99))
def test_prefix_fills_the_front_with_the_first_unit(seed: int) -> None:
    full = np.arange(16)
    cut = sampling.prefix(full, 4, 4, np.random.default_rng(seed)).reshape(4, 4)
    kept = len({tuple(row) for row in cut.tolist()})
    assert 1 <= kept <= 3
    assert cut[4 - kept :].tolist() == full.reshape(4, 4)[:kept].tolist()
    assert (cut[: 5 - kept] == full[:4]).all()


def test_no_frames_and_unknown_padding_are_refused() -> None:
    with pytest.raises(ValueError, match="without frames"):
        sampling.centre_indices(0, 1, 16)
    with pytest.raises(ValueError, match="padding"):
        sampling.centre_indices(3, 1, 16, "zeros")
