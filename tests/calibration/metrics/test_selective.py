from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibration import metrics


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


@given(st.lists(st.tuples(st.integers(1, 3), st.booleans()), min_size=1, max_size=6), st.floats(0, 1))
def test_ties_count_as_the_mean_over_all_orders(rows: list[tuple[int, bool]], abstained: float) -> None:
    areas, removed = [], []
    for order in permutations(rows):
        ranked = [right for _, right in sorted(order, key=lambda row: -row[0])]
        wrong = [not right for right in ranked]
        areas.append(np.mean([sum(wrong[:kept]) / kept for kept in range(1, len(rows) + 1)]))
        kept = len(rows) - round(abstained * len(rows))
        removed.append(sum(wrong[kept:]) / sum(wrong) if any(wrong) else 0.0)
    confidence, correct = np.array([c / 3 for c, _ in rows]), np.array([right for _, right in rows])
    assert metrics.risk_coverage(confidence, correct).area == pytest.approx(np.mean(areas))
    assert metrics.errors_removed(confidence, correct, abstained) == pytest.approx(np.mean(removed))


def test_coverage_at_a_precision_keeps_as_many_as_it_allows() -> None:
    confidence = np.linspace(1, 0, 10)
    correct = np.array([1, 1, 1, 0, 1, 1, 1, 1, 0, 0], np.bool_)
    assert metrics.coverage_at(confidence, correct, 0.8) == pytest.approx(0.8)
    assert metrics.coverage_at(confidence, correct, 1.0) == pytest.approx(0.3)
    assert metrics.coverage_at(confidence, ~correct, 1.0) == 0.0


def test_answers_of_one_confidence_are_kept_together() -> None:
    correct = np.array([1, 1, 0, 1], np.bool_)
    assert metrics.coverage_at(np.full(4, 0.5), correct, 0.9) == 0.0
    assert metrics.coverage_at(np.full(4, 0.5), correct, 0.75) == 1.0
