"""WAR, UAR and AUROC against scikit-learn."""

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as oracle

from calibration import metrics
from calibration.settings import CalibrationError

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
        of_class = {"labels": range(7), "average": None, "zero_division": np.nan}
        recall, precision = (f(truth, predicted, **of_class) for f in (oracle.recall_score, oracle.precision_score))
    np.testing.assert_allclose(ours.recall, recall)
    np.testing.assert_allclose(ours.precision, precision)
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
    assert ours.text() == (
        f"WAR {100 * ours.war:.2f}  UAR {100 * ours.uar:.2f}  (n = {len(truth)}); "
        f"UAR leaves out absent {', '.join(ours.absent)}"
    )


def test_no_clips_give_nan_and_foreign_classes_are_refused() -> None:
    empty = metrics.score(np.array([], int), np.array([], int), NAMES)
    assert np.isnan(empty.war)
    assert np.isnan(empty.uar)
    for true, predicted in ((7, 0), (0, 7), (9, 0), (-1, 0), (0, -1)):
        with pytest.raises(CalibrationError, match=r"0\.\.6, not"):
            metrics.score(np.array([true]), np.array([predicted]), NAMES)
    with pytest.raises(CalibrationError, match=r"truth \(2,\) and prediction \(1,\)"):
        metrics.score(np.array([0, 1]), np.array([0]), NAMES)


def test_mean_and_sd_over_folds() -> None:
    mean, deviation = metrics.mean_and_sd([0.7, 0.72, 0.74])
    assert mean == pytest.approx(0.72)
    assert deviation == pytest.approx(0.02)
    assert metrics.mean_and_sd([0.7, 0.72]).sd == pytest.approx(0.02 / np.sqrt(2))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isnan(metrics.mean_and_sd([0.7]).sd)
