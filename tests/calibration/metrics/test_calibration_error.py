from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score, log_loss

from calibration import metrics
from calibration.apply import CalibrationError, softmax
from tests.calibration.samples import sample


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
