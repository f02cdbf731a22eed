from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibration import metrics
from calibration.fitting import threshold
from calibration.settings import CalibrationError
from engine.bundle import softmax
from tests.calibration.samples import sample


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
    # Where all are wrong there is no hope.
    assert threshold.upper_bound(np.array([3.0]), np.array([3]), 0.95)[0] == 1


@pytest.mark.parametrize(
    ("risk", "certainty"), [(0.0, None), (1.0, None), (-0.1, None), (1.5, None), (0.1, 0.0), (0.1, 1.0)]
)
def test_a_risk_or_certainty_that_is_none_is_refused(risk: float, certainty: float | None) -> None:
    with pytest.raises(CalibrationError, match="must be above 0 and under 1"):
        threshold.for_risk(np.array([0.9, 0.8]), np.array([True, True]), risk, certainty)


def test_answers_of_one_confidence_are_kept_or_left_together() -> None:
    confidence = np.array([0.9, 0.9, 0.6, 0.6, 0.6, 0.3])
    for correct in ([1, 1, 1, 1, 0, 0], [1, 1, 0, 1, 1, 0]):
        found = threshold.for_risk(confidence, np.array(correct, bool), 0.25)
        assert (found.threshold, found.coverage, found.risk) == pytest.approx((0.6, 5 / 6, 0.2))
        assert threshold.for_risk(confidence, np.array(correct, bool), 0.1).threshold == 0.9
    assert threshold.for_risk(confidence, np.array([1, 1, 1, 1, 0, 0], bool), 0.4).threshold == 0  # nothing is left out
