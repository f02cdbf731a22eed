from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibration import metrics
from calibration.metrics.intervals import Rows
from engine.bundle import softmax
from tests.calibration.samples import sample


def test_the_interval_holds_the_figure_and_twins_widen_it() -> None:
    logits, labels = sample(6, 400)
    twins = np.repeat(np.arange(100), 4)
    doubled_logits, doubled_labels = np.repeat(logits[:100], 4, axis=0), np.repeat(labels[:100], 4)
    probs = softmax(doubled_logits)

    def both(rows: Rows) -> list[float]:
        return [measure(probs[rows], doubled_labels[rows]) for measure in (metrics.war, metrics.ece)]

    war, ece = metrics.bootstrap(both, 400, twins, 200, centred=True)
    naive, _ = metrics.bootstrap(both, 400, None, 200, centred=True)
    assert (war.value, ece.value) == (metrics.war(probs, doubled_labels), metrics.ece(probs, doubled_labels))
    assert war.low < war.value < war.high
    assert ece.low < ece.value < ece.high
    assert war.high - war.low > 1.5 * (naive.high - naive.low)


@settings(max_examples=20)
@given(st.integers(0, 1000))
def test_bootstrap_interval_holds_the_value_and_is_wider_over_groups(seed: int) -> None:
    rng = np.random.default_rng(seed)
    groups = [f"face-{i // 8}" for i in range(160)]
    # Whole faces are right or wrong together, so clips of a face are no independent evidence.
    right = np.repeat(rng.random(20) < 0.7, 8)
    truth = rng.integers(0, 3, 160)
    predicted = np.where(right, truth, (truth + 1) % 3)
    by_clip, _ = metrics.war_and_uar_intervals(truth, predicted, 3, draws=200)
    by_face, uar = metrics.war_and_uar_intervals(truth, predicted, 3, groups, draws=200)
    assert by_face.low <= by_face.value <= by_face.high
    assert by_face.value == (truth == predicted).mean()
    assert uar.value == metrics.score(truth, predicted, "abc").uar
    assert uar.low <= uar.value <= uar.high
    percent = metrics.war_and_uar_intervals(truth, predicted, 3, groups, draws=200, unit=100)
    for share, of_hundred in zip((by_face, uar), percent, strict=True):
        assert (of_hundred.value, of_hundred.low, of_hundred.high) == pytest.approx(
            (100 * share.value, 100 * share.low, 100 * share.high)
        )
    if 0.2 < right.mean() < 0.95:
        assert by_face.high - by_face.low > by_clip.high - by_clip.low


def test_a_paired_gain_is_sure_where_every_face_gains() -> None:
    truth = np.arange(70) % 7
    gain = metrics.paired_uar_gain(np.ones((2, 70), bool), np.zeros((2, 70), bool), truth)
    assert (gain.value, gain.low, gain.high) == pytest.approx((100, 100, 100))


def test_a_gain_is_the_mean_over_classes_that_were_drawn() -> None:
    # Class 1 alone is gained, by its one face: all of it, half of it or nothing, by how often that face is drawn.
    right = np.array([[False, True]])
    gain = metrics.paired_uar_gain(right, np.zeros((1, 2), bool), np.array([0, 1]))
    assert (gain.value, gain.low, gain.high) == (50, 0, 100)
    many = metrics.paired_uar_gain(np.array([[False] * 5 + [True]]), np.zeros((1, 6), bool), np.array([0] * 5 + [1]))
    assert (many.value, many.low, many.high) == (50, 0, 50)
    both = metrics.paired_uar_gain(np.ones((1, 2), bool), np.zeros((1, 2), bool), np.array([0, 1]))
    assert (both.value, both.low, both.high) == (100, 100, 100)  # however seldom a class is drawn
    lost = metrics.paired_uar_gain(np.zeros((1, 2), bool), right, np.array([0, 1]))
    assert (lost.value, lost.low, lost.high) == (-50, -100, 0)


@pytest.mark.parametrize("groups", [None, [""] * 12, np.arange(12)[::-1]])
def test_rows_without_a_group_are_drawn_one_by_one(groups: list[str] | None) -> None:
    draws: list[list[int]] = []

    def note(rows: Rows) -> list[float]:
        draws.append(rows.tolist())
        return [0.0]

    metrics.bootstrap(note, 12, groups, draws=200)
    *resamples, whole = draws
    assert whole == list(range(12))
    assert {len(rows) for rows in resamples} == {12}
    drawn = np.bincount(np.concatenate(resamples), minlength=12) / 200
    np.testing.assert_allclose(drawn, 1, atol=0.3)  # none is left out, none preferred
    assert len({len(set(rows)) for rows in resamples}) > 3


@pytest.mark.parametrize("groups", [["b", "a", "", "a", "b", "b"], [7, 3, 5, 3, 7, 7]])
def test_groups_are_drawn_whole(groups: list[str] | list[int]) -> None:
    seen = set()

    def check(rows: Rows) -> list[float]:
        times = np.bincount(rows, minlength=6)
        assert times[1] == times[3]
        assert times[0] == times[4] == times[5]
        assert times[0] + times[1] + times[2] == 3  # as many groups as there are
        seen.add(tuple(times.tolist()))
        return [0.0]

    metrics.bootstrap(check, 6, groups if isinstance(groups[0], str) else np.array(groups), draws=200)
    assert len(seen) == 10  # all ways to draw three of three


def test_percentiles_are_of_the_resamples_unless_centred_and_undefined_ones_are_left_out() -> None:
    def different(rows: Rows) -> list[float]:
        return [len(set(rows.tolist())) / 100]

    (plain,) = metrics.bootstrap(different, 100, draws=400)
    (centred,) = metrics.bootstrap(different, 100, draws=400, centred=True)
    assert plain.value == centred.value == 1
    assert 0.5 < plain.low < 1 - 1 / np.e < plain.high < 0.75  # a share of 1/e is not drawn
    assert centred.low < 1 < centred.high
    assert centred.high - centred.low == pytest.approx(plain.high - plain.low)
    assert plain.level == centred.level == 0.95
    (half,) = metrics.bootstrap(different, 100, draws=400, level=0.5)
    assert plain.low < half.low < half.high < plain.high
    assert half.level == 0.5
    (unknown,) = metrics.bootstrap(lambda rows: [float("nan")], 5, draws=10)
    assert np.isnan([unknown.low, unknown.high]).all()
    (partly,) = metrics.bootstrap(lambda rows: [1.0 if 0 in rows else float("nan")], 5, draws=50)
    assert (partly.value, partly.low, partly.high) == (1, 1, 1)
    low = metrics.bootstrap(lambda rows: [float((rows == 0).mean())], 50, draws=100, centred=True)[0].low
    assert low == 0  # a share that cannot be negative


def test_intervals_hold_the_stated_share_of_the_resamples() -> None:
    # The first row of a resample is any row: its distribution is known.
    for level, low, high in ((0.95, 25, 975), (0.5, 250, 750)):
        (found,) = metrics.bootstrap(lambda rows: [float(rows[0])], 1000, draws=10_000, level=level)
        assert (found.low, found.high) == pytest.approx((low, high), abs=20)
    # The mean of many faces is normal: 1.96 deviations to either side.
    right = np.random.default_rng(0).random((1, 400)) < 0.3
    gain = metrics.paired_uar_gain(right, np.zeros((1, 400), bool), np.zeros(400, int), draws=20_000)
    deviation = 100 * right.std() / 20
    assert (gain.high - gain.value) / deviation == pytest.approx(1.96, abs=0.08)
    assert (gain.value - gain.low) / deviation == pytest.approx(1.96, abs=0.08)
