from __future__ import annotations

import warnings

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as oracle
from sklearn.calibration import calibration_curve

from calibration import metrics
from calibration.evaluate import FIGURES
from calibration.settings import CalibrationError
from engine.bundle import softmax
from tests.calibration.samples import sample


def answers(seed: int, n: int, classes: int, kind: str) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Probabilities and truth: as drawn; with few different confidences; of 0 and 1 alone; of one true class."""
    logits, labels = sample(seed, n, classes)
    if kind == "tied":
        logits = logits.round()
    probs = np.eye(classes)[logits.argmax(axis=1)] if kind == "saturated" else softmax(logits)
    return probs, np.full(n, seed % classes) if kind == "single class" else labels


KINDS = st.sampled_from(["drawn", "tied", "saturated", "single class"])


@given(st.integers(0, 1000), st.integers(5, 300), st.integers(2, 8), KINDS)
def test_figures_agree_with_scikit_learn(seed: int, n: int, classes: int, kind: str) -> None:
    probs, labels = answers(seed, n, classes, kind)
    predicted = probs.argmax(axis=1)
    if kind != "saturated":  # scikit-learn takes a probability of 0 for one of 2e-16
        assert metrics.nll(probs, labels) == pytest.approx(oracle.log_loss(labels, probs, labels=range(classes)))
    assert metrics.brier(probs, labels) == pytest.approx(
        oracle.brier_score_loss(labels, probs, labels=range(classes), scale_by_half=False)
    )
    assert metrics.war(probs, labels) == pytest.approx(oracle.accuracy_score(labels, predicted))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of classes that are predicted but not true
        assert metrics.uar(probs, labels) == pytest.approx(oracle.balanced_accuracy_score(labels, predicted))


def test_the_likelihood_of_logits_is_that_of_their_probabilities_and_stays_finite_where_those_are_0() -> None:
    logits, labels = sample(7, 500)
    assert metrics.nll_of_logits(logits, labels) == pytest.approx(metrics.nll(softmax(logits), labels), rel=1e-12)
    assert metrics.nll_of_logits(np.array([[0.0, 5000.0]]), np.array([0])) == 5000
    # The least that is told apart from 0, so that one hopeless answer does not make the mean infinite.
    assert metrics.nll(np.array([[0.0, 1.0]]), np.array([0])) == pytest.approx(300 * np.log(10))


@given(st.integers(0, 1000), st.integers(1, 300), st.integers(2, 8), KINDS)
def test_the_order_of_rows_changes_no_figure(seed: int, n: int, classes: int, kind: str) -> None:
    probs, labels = answers(seed, n, classes, kind)
    order = np.random.default_rng(seed).permutation(n)
    right = metrics.top_label(probs, labels).correct
    by_truth = np.argsort(~right, kind="stable")
    for figure in FIGURES.values():
        expected = pytest.approx(figure(probs, labels), rel=1e-9, abs=1e-12)
        assert figure(probs[order], labels[order]) == expected
        assert figure(probs[by_truth], labels[by_truth]) == expected


@given(st.integers(0, 1000), st.integers(1, 20), st.integers(1, 15))
def test_bins_without_ties_are_scikit_learns(seed: int, mass: int, bins: int) -> None:
    rng = np.random.default_rng(seed)
    confidence, correct = rng.random(mass * bins), rng.random(mass * bins) < 0.5
    true, mean = calibration_curve(correct, confidence, n_bins=bins, strategy="quantile")
    found = metrics.reliability(confidence, correct, bins)
    np.testing.assert_allclose([each.accuracy for each in found], true)
    np.testing.assert_allclose([each.confidence for each in found], mean)


@given(st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=1, max_size=80), st.integers(1, 20))
def test_bins_never_part_a_tie(rows: list[tuple[int, bool]], bins: int) -> None:
    confidence, correct = np.array([c / 7 for c, _ in rows]), np.array([right for _, right in rows])
    found = metrics.reliability(confidence, correct, bins)
    assert len(found) <= min(bins, len(set(confidence)))
    ends = np.r_[-1.0, (confidence[np.argsort(confidence)])[np.cumsum([each.count for each in found]) - 1]]
    for low, high, each in zip(ends[:-1], ends[1:], found, strict=True):
        here = (confidence > low) & (confidence <= high)
        assert each.count == here.sum()
        assert each.confidence == pytest.approx(confidence[here].mean())
        assert each.accuracy == pytest.approx(correct[here].mean())


def test_a_tie_over_an_edge_lies_with_its_upper_middle() -> None:
    confidence, correct = np.array([0.1, 0.5, 0.5, 0.9]), np.ones(4, bool)
    assert [each.count for each in metrics.reliability(confidence, correct, 2)] == [1, 3]
    confidence = np.array([0.1, 0.5, 0.5, 0.5, 0.8, 0.9])
    assert [each.count for each in metrics.reliability(confidence, np.ones(6, bool), 2)] == [4, 2]


def test_one_confidence_that_is_true_is_no_error() -> None:
    """600 answers of 0.9, of which 540 are right: calibrated perfectly, in whatever order."""
    probs, labels = np.tile([0.9, 0.1], (600, 1)), np.r_[np.zeros(540, int), np.ones(60, int)]
    assert metrics.ece(probs, labels) == pytest.approx(0, abs=1e-12)
    assert metrics.classwise_ece(probs, labels) == pytest.approx(0, abs=1e-12)


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
    assert metrics.ece(np.tile([0.9, 0.1], (1000, 1)), half) == pytest.approx(0.4)
    assert metrics.classwise_ece(sure, labels) == 0
    logits, drawn = sample(3, 20_000)
    assert metrics.ece(softmax(logits), drawn) < 0.015
    assert metrics.ece(softmax(3 * logits), drawn) > 0.1


@pytest.mark.parametrize(
    ("probs", "labels", "words"),
    [
        (np.zeros((0, 3)), np.zeros(0, dtype=int), "n > 0"),
        (np.ones(3), np.zeros(3, dtype=int), r"not \(3,\)"),
        (np.ones((2, 3)), np.zeros(3, dtype=int), r"\(2, 3\) and \(3,\)"),
        (np.full((2, 3), np.nan), np.zeros(2, dtype=int), "not finite"),
        (np.ones((2, 3)), np.array([0, 3]), r"0\.\.2$"),
        (np.ones((2, 3)), np.array([0, -1]), r"0\.\.2$"),
    ],
)
def test_what_cannot_be_measured_is_refused(
    probs: npt.NDArray[np.float64], labels: npt.NDArray[np.int64], words: str
) -> None:
    with pytest.raises(CalibrationError, match=words):
        metrics.check(probs, labels)


def test_overconfidence_is_told_by_the_class_that_was_answered() -> None:
    probs = np.array([[0.9, 0.1, 0.0], [0.7, 0.3, 0.0], [0.2, 0.8, 0.0]])
    gap = metrics.overconfidence(probs, np.array([0, 1, 1]))
    assert gap[:2].tolist() == pytest.approx([0.8 - 0.5, 0.8 - 1.0])
    assert np.isnan(gap[2])
