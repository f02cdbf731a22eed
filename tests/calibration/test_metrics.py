from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score, log_loss

from calibration import metrics, temperature, threshold
from calibration.apply import Calibration, CalibrationError, softmax

Sample = tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]


def sample(seed: int, n: int = 3000, classes: int = 7, sharpness: float = 1.0) -> Sample:
    """Logits whose softmax at temperature `sharpness` is the very distribution the labels were drawn from."""
    rng = np.random.default_rng(seed)
    true = rng.normal(0, 2, (n, classes))
    labels = (softmax(true).cumsum(axis=1) > rng.random((n, 1))).argmax(axis=1)
    return true * sharpness, labels.astype(np.int64)


@given(st.integers(0, 1000), st.floats(0.2, 5))
def test_the_true_temperature_is_found(seed: int, sharpness: float) -> None:
    logits, labels = sample(seed, sharpness=sharpness)
    found = temperature.fit_temperature(logits, labels)
    assert found == pytest.approx(sharpness, rel=0.12)
    probs = Calibration(tuple("abcdefg"), "temperature", (1 / found,) * 7).probs(logits)
    assert metrics.nll(probs, labels) <= metrics.nll(softmax(logits), labels) + 1e-9
    np.testing.assert_array_equal(probs.argmax(axis=1), logits.argmax(axis=1))


def test_the_fitted_temperature_is_the_minimum() -> None:
    logits, labels = sample(1, sharpness=3)
    found = temperature.fit_temperature(logits, labels)
    best = log_loss(labels, softmax(logits / found))
    for factor in (0.98, 1.02):
        assert log_loss(labels, softmax(logits / (found * factor))) > best


def test_vector_scaling_undoes_a_bias_and_a_scale_per_class_and_its_gradient_is_right() -> None:
    logits, labels = sample(2, n=20_000, classes=4)
    scale, bias = np.array([0.5, 1.0, 2.0, 1.5]), np.array([1.0, -1.0, 0.0, 0.5])
    spoilt = (logits - bias) / scale
    got_scale, got_bias = temperature.fit_vector(spoilt, labels, ridge=1e-6)
    np.testing.assert_allclose(got_scale, scale, rtol=0.1)
    np.testing.assert_allclose(got_bias - got_bias.mean(), bias - bias.mean(), atol=0.1)
    pulled, _ = temperature.fit_vector(spoilt, labels, ridge=1e6)
    assert np.ptp(pulled) < 1e-3


@given(st.integers(0, 1000), st.integers(50, 400), st.integers(2, 8))
def test_figures_agree_with_scikit_learn(seed: int, n: int, classes: int) -> None:
    logits, labels = sample(seed, n, classes)
    probs = softmax(logits)
    assert metrics.nll(probs, labels) == pytest.approx(log_loss(labels, probs, labels=range(classes)))
    assert metrics.uar(probs, labels) == pytest.approx(_balanced(labels, probs.argmax(axis=1)))
    assert metrics.war(probs, labels) == pytest.approx(float((probs.argmax(axis=1) == labels).mean()))
    one_hot = np.eye(classes)[labels]
    assert metrics.brier(probs, labels) == pytest.approx(float(np.mean(np.sum((probs - one_hot) ** 2, axis=1))))


def _balanced(labels: npt.NDArray[np.int64], predicted: npt.NDArray[np.int64]) -> float:
    # scikit-learn leaves out classes that do not occur, as we do, but warns where one is only predicted.
    present = np.isin(predicted, labels)
    return (
        float(balanced_accuracy_score(labels, np.where(present, predicted, -1), adjusted=False))
        if present.all()
        else (float(np.mean([(predicted[labels == c] == c).mean() for c in np.unique(labels)])))
    )


@given(st.integers(0, 1000), st.integers(1, 500), st.integers(1, 20))
def test_bins_have_equal_mass_and_cover_everything(seed: int, n: int, bins: int) -> None:
    rng = np.random.default_rng(seed)
    confidence, correct = rng.random(n), rng.random(n) < 0.5
    found = metrics.reliability(confidence, correct, bins)
    counts = [each.count for each in found]
    assert sum(counts) == n
    assert max(counts) - min(counts) <= 1
    assert sum(each.count * each.accuracy for each in found) == pytest.approx(correct.sum())
    centres = [each.confidence for each in found]
    assert centres == sorted(centres)


def test_ece_of_known_cases() -> None:
    labels = np.zeros(1000, dtype=np.int64)
    sure = np.tile([1.0, 0.0], (1000, 1))
    assert metrics.ece(sure, labels) == 0
    half = np.where(np.arange(1000) % 2, 1, 0)
    assert metrics.ece(np.tile([0.9, 0.1], (1000, 1)), half) == pytest.approx(0.4, abs=0.02)
    assert metrics.classwise_ece(sure, labels) == 0
    logits, drawn = sample(3, 20_000)
    assert metrics.ece(softmax(logits), drawn) < 0.015
    assert metrics.ece(softmax(3 * logits), drawn) > 0.1


@given(st.integers(0, 1000), st.integers(2, 300))
def test_risk_at_full_coverage_is_the_error_rate(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    confidence, correct = rng.random(n), rng.random(n) < 0.7
    curve = metrics.risk_coverage(confidence, correct)
    assert curve.risk[-1] == pytest.approx(1 - correct.mean())
    assert (np.diff(curve.threshold) <= 0).all()
    assert 0 <= curve.area <= 1
    assert metrics.errors_removed(confidence, correct, 1.0) == (1.0 if not correct.all() else 0.0)


def test_errors_removed_counts_the_least_confident() -> None:
    confidence = np.linspace(0.1, 1, 100)
    correct = np.ones(100, dtype=np.bool_)
    correct[[2, 5, 50, 90]] = False
    assert metrics.errors_removed(confidence, correct, 0.1) == 0.5


@given(st.integers(0, 1000), st.floats(0.02, 0.5))
def test_a_threshold_keeps_the_stated_risk_and_the_next_lower_one_does_not(seed: int, risk: float) -> None:
    logits, labels = sample(seed, 600)
    confidence, correct = metrics.top_label(softmax(logits), labels)
    try:
        found = threshold.for_risk(confidence, correct, risk)
    except CalibrationError:
        assert metrics.risk_coverage(confidence, correct).risk.min() > risk
        return
    kept = confidence >= found.threshold
    assert (~correct[kept]).mean() <= risk + 1e-12
    assert kept.mean() == pytest.approx(found.coverage)
    lower = confidence[confidence < found.threshold]
    if lower.size:
        assert (~correct[confidence >= lower.max()]).mean() > risk


def test_a_certain_threshold_is_stricter_and_its_bound_is_clopper_pearsons() -> None:
    logits, labels = sample(4, 4000)
    confidence, correct = metrics.top_label(softmax(logits), labels)
    plain, certain = (threshold.for_risk(confidence, correct, 0.1, c) for c in (None, 0.95))
    assert certain.threshold > plain.threshold
    assert certain.risk < certain.bound <= 0.1
    # No error in 59 gives 5 % at 95 % certainty: the rule of three, exactly.
    bound = threshold.upper_bound(np.array([0.0]), np.array([59]), 0.95)
    assert bound[0] == pytest.approx(1 - 0.05 ** (1 / 59))
    with pytest.raises(CalibrationError, match="state a higher risk"):
        threshold.for_risk(confidence, np.zeros(4000, dtype=np.bool_), 0.1)
    with pytest.raises(CalibrationError, match="must be above 0"):
        threshold.for_risk(confidence, correct, 0.0)


@given(st.lists(st.integers(0, 40), min_size=30, max_size=200), st.integers(2, 6), st.integers(0, 5))
def test_groups_stay_together_and_folds_are_even(groups: list[int], count: int, seed: int) -> None:
    array = np.asarray(groups)
    if len(set(groups)) < count:
        with pytest.raises(CalibrationError, match="at least"):
            temperature.folds(array, count, seed)
        return
    fold = temperature.folds(array, count, seed)
    assert all(len(set(fold[array == g])) == 1 for g in set(groups))
    sizes = np.bincount(fold, minlength=count)
    assert sizes.min() > 0
    assert sizes.max() - sizes.min() <= np.bincount(array).max()
    np.testing.assert_array_equal(fold, temperature.folds(array, count, seed))


def test_cross_fitting_never_sees_the_fold_it_judges() -> None:
    logits, labels = sample(5, 500, sharpness=4)
    groups = np.arange(500) // 5
    before = temperature.cross_fit("temperature", logits, labels, groups)
    fold = temperature.folds(groups)
    spoilt = labels.copy()
    spoilt[fold == 2] = (spoilt[fold == 2] + 1) % 7
    after = temperature.cross_fit("temperature", logits, spoilt, groups)
    np.testing.assert_array_equal(before[fold == 2], after[fold == 2])
    assert not np.allclose(before[fold != 2], after[fold != 2])
    assert metrics.ece(before, labels) < metrics.ece(softmax(logits), labels) / 3


def test_the_interval_holds_the_figure_and_twins_widen_it() -> None:
    logits, labels = sample(6, 400)
    twins = np.repeat(np.arange(100), 4)
    doubled_logits, doubled_labels = np.repeat(logits[:100], 4, axis=0), np.repeat(labels[:100], 4)
    probs = softmax(doubled_logits)
    figures = {"war": metrics.war, "ece": metrics.ece}
    intervals = metrics.bootstrap(figures, probs, doubled_labels, twins, 200)
    low, high = intervals["war"]
    naive_low, naive_high = metrics.bootstrap(figures, probs, doubled_labels, None, 200)["war"]
    assert low < metrics.war(probs, doubled_labels) < high
    assert intervals["ece"][0] < metrics.ece(probs, doubled_labels) < intervals["ece"][1]
    assert high - low > 1.5 * (naive_high - naive_low)


@pytest.mark.parametrize(
    ("probs", "labels"),
    [
        (np.zeros((0, 3)), np.zeros(0, dtype=int)),
        (np.ones((2, 3)), np.zeros(3, dtype=int)),
        (np.full((2, 3), np.nan), np.zeros(2, dtype=int)),
        (np.ones((2, 3)), np.array([0, 3])),
    ],
)
def test_what_cannot_be_measured_is_refused(probs: npt.NDArray[np.float64], labels: npt.NDArray[np.int64]) -> None:
    with pytest.raises(CalibrationError):
        metrics.check(probs, labels)
