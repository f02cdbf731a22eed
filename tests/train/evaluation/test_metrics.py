"""WAR, UAR and AUROC against scikit-learn."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as oracle

from train.evaluation import metrics

NAMES = [f"class-{i}" for i in range(7)]
PAIRS = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=80)


@given(PAIRS)
def test_war_uar_recall_and_confusion_agree_with_scikit_learn(pairs: list[tuple[int, int]]) -> None:
    truth, predicted = (np.array(column) for column in zip(*pairs, strict=True))
    ours = metrics.score(truth, predicted, NAMES)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert ours.war == pytest.approx(oracle.accuracy_score(truth, predicted))
        assert ours.uar == pytest.approx(oracle.balanced_accuracy_score(truth, predicted))
        expected = oracle.recall_score(truth, predicted, labels=range(7), average=None, zero_division=np.nan)
    np.testing.assert_allclose(ours.recall, expected)
    np.testing.assert_array_equal(ours.confusion, oracle.confusion_matrix(truth, predicted, labels=range(7)))
    assert ours.absent == tuple(NAMES[c] for c in range(7) if c not in truth)


@pytest.mark.parametrize(
    ("truth", "predicted"),
    [([3], [3]), ([3], [1]), ([0] * 9, [0] * 9), ([0, 0, 1], [1, 1, 1]), ([2, 2], [5, 6])],
)
def test_degenerate_cases_agree_too(truth: list[int], predicted: list[int]) -> None:
    ours = metrics.score(np.array(truth), np.array(predicted), NAMES)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert ours.uar == pytest.approx(oracle.balanced_accuracy_score(truth, predicted))
    assert ours.war == pytest.approx(oracle.accuracy_score(truth, predicted))
    assert len(ours.absent) == 7 - len(set(truth))
    assert "leaves out" in ours.text()


def test_no_clips_give_nan_and_foreign_classes_are_refused() -> None:
    empty = metrics.score(np.array([], int), np.array([], int), NAMES)
    assert np.isnan(empty.war)
    assert np.isnan(empty.uar)
    with pytest.raises(ValueError, match="0..6"):
        metrics.score(np.array([7]), np.array([0]), NAMES)


@given(st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=2, max_size=60))
def test_auroc_agrees_with_scikit_learn_with_ties(rows: list[tuple[int, bool]]) -> None:
    values, positive = np.array([r[0] for r in rows], float), np.array([r[1] for r in rows])
    ours = metrics.auroc(values, positive)
    if positive.all() or not positive.any():
        assert np.isnan(ours)
    else:
        assert ours == pytest.approx(oracle.roc_auc_score(positive, values))


def test_clip_auroc_leaves_unknown_frames_out() -> None:
    relevance = np.array([[0.1, 0.9, 0.5, 0.2], [0.1, 0.9, 0.5, 0.2]])
    truth = np.array([[0.0, 1.0, -1.0, 0.0], [-1.0] * 4])
    result = metrics.clip_auroc(relevance, truth)
    assert result[0] == 1.0
    assert np.isnan(result[1])


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
    assert uar.low <= uar.high
    if 0.2 < right.mean() < 0.95:
        assert by_face.high - by_face.low > by_clip.high - by_clip.low


def test_mean_and_sd_over_folds() -> None:
    mean, deviation = metrics.mean_and_sd([0.7, 0.72, 0.74])
    assert mean == pytest.approx(0.72)
    assert deviation == pytest.approx(0.02)
    assert np.isnan(metrics.mean_and_sd([0.7])[1])
