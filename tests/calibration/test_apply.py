from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibration.apply import Calibration, load
from calibration.neutral import NeutralBaseline
from calibration.settings import CalibrationError, NeutralSettings
from engine.bundle import softmax
from engine.spec import SEVEN_CLASSES

S = 1_000_000_000
numbers = st.lists(st.floats(-20, 20), min_size=7, max_size=7)
scales = st.lists(st.floats(0.05, 20), min_size=7, max_size=7)


@given(numbers, scales, numbers)
def test_probabilities_sum_to_one_and_the_file_gives_the_same_ones(
    logits: list[float], scale: list[float], bias: list[float]
) -> None:
    made = Calibration(SEVEN_CLASSES, "vector", tuple(scale), tuple(bias), 0.4, 0.1, tuple(logits), {"ece": 0.02})
    probs = made.probs(np.asarray(logits))
    assert probs.sum() == pytest.approx(1)
    read = load(json.loads(made.to_json()), SEVEN_CLASSES)
    assert read == made
    np.testing.assert_array_equal(read.probs(np.asarray(logits)), probs)


def test_logits_of_single_samples_have_their_own_calibration_where_one_was_fitted() -> None:
    now = Calibration(SEVEN_CLASSES, "temperature", (0.5,) * 7, threshold=0.6)
    plain = Calibration(SEVEN_CLASSES, "temperature", (2.0,) * 7, threshold=0.4)
    assert plain.of_now is plain
    both = dataclasses.replace(plain, now=now)
    read = load(json.loads(both.to_json()), SEVEN_CLASSES)
    assert (read, read.of_now) == (both, now)
    # Files without it are what they were, so bundles keep their hashes.
    assert "now" not in plain.to_dict()
    nested = both.to_dict() | {"now": both.to_dict()}
    assert load(nested, SEVEN_CLASSES).of_now.now is None
    with pytest.raises(CalibrationError, match="the bundle has"):
        load(both.to_dict() | {"now": now.to_dict() | {"labels": ["happiness"]}}, SEVEN_CLASSES)
    with pytest.raises(CalibrationError, match="wrong type"):
        load(both.to_dict() | {"now": 3}, SEVEN_CLASSES)


@given(numbers, st.floats(0.05, 20))
def test_a_temperature_keeps_the_ranking(logits: list[float], t: float) -> None:
    made = Calibration(SEVEN_CLASSES, "temperature", (1 / t,) * 7)
    np.testing.assert_allclose(made.probs(np.asarray(logits)), softmax(np.asarray(logits) / t))


def test_no_calibration_is_plain_softmax_of_any_shape() -> None:
    plain = load(None, SEVEN_CLASSES)
    logits = np.random.default_rng(0).normal(size=(4, 5, 7)).astype(np.float32)
    np.testing.assert_allclose(plain.probs(logits), softmax(logits))
    assert plain.name is None
    assert plain.threshold is None
    with pytest.raises(CalibrationError, match="must end in 7 classes"):
        plain.probs(np.zeros(3))


def test_the_shift_comes_before_the_scale() -> None:
    made = Calibration(SEVEN_CLASSES, "temperature", (0.5,) * 7)
    logits, shift = np.arange(7.0), np.array([1.0, 0, 0, 0, 0, 0, -1.0])
    np.testing.assert_allclose(made.probs(logits, shift), softmax((logits + shift) * 0.5))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"format": "other"}, "not a calibration"),
        ({"format_version": 2}, "newer than 1; update dferstream"),
        ({"labels": ["a"] * 7}, "run `dfer-calibrate fit`"),
        ({"method": "magic"}, "method must be one of"),
        ({"scale": [1.0]}, "scale must be 7"),
        ({"scale": [-1.0] * 7}, "scale must be above 0"),
        ({"scale": ["x"] * 7}, "incomplete or of the wrong type"),
        ({"scale": [10**400] * 7}, "incomplete or of the wrong type"),
        ({"labels": None}, "run `dfer-calibrate fit`"),
        ({"bias": [None] * 7}, "incomplete or of the wrong type"),
        ({"threshold": 2.0}, "threshold must be 0..1"),
        ({"threshold": -0.5}, "threshold must be 0..1"),
        ({"risk": -0.5}, "risk must be 0..1"),
    ],
)
def test_a_file_that_will_not_do_is_refused(changes: dict[str, Any], words: str) -> None:
    values = Calibration(SEVEN_CLASSES).to_dict() | changes
    with pytest.raises(CalibrationError, match=words):
        Calibration.from_dict(values, SEVEN_CLASSES)


def test_a_person_with_a_sad_resting_face_is_shifted_back_within_the_bound() -> None:
    reference = np.zeros(7)
    reference[SEVEN_CLASSES.index("neutral")] = 2.0
    baseline = NeutralBaseline(NeutralSettings(True, 2.0, 0.8), tuple(reference - reference.mean()))
    resting = reference.copy()
    resting[SEVEN_CLASSES.index("sadness")] = 2.5
    rng = np.random.default_rng(0)
    shift = None
    for i in range(17):
        assert shift is None
        noisy = resting + rng.normal(0, 0.1) + (5.0 * np.eye(7)[0] if i in (3, 4) else 0)  # a short smile
        shift = baseline.step("f1", noisy, i * S // 8)
    assert shift is not None
    assert np.abs(shift).max() <= 0.8
    assert shift.argmin() == SEVEN_CLASSES.index("sadness")
    assert shift.min() == -0.8  # 2.3 of sadness that the reference has not
    assert shift.max() > 0.2
    assert softmax(resting + shift)[SEVEN_CLASSES.index("neutral")] > softmax(resting)[SEVEN_CLASSES.index("neutral")]
    later = baseline.step("f1", -resting, 99 * S)
    assert later is shift  # once made it stays
    assert baseline.step("f2", resting, 99 * S) is None  # another face has its own
    baseline.reset("f1")
    assert baseline.step("f1", resting, 100 * S) is None


def test_the_baseline_is_opt_in_and_needs_a_reference() -> None:
    off = NeutralBaseline(NeutralSettings(), None)
    assert [off.step("f", np.ones(7), t * S) for t in range(10)] == [None] * 10
    with pytest.raises(CalibrationError, match="needs a bundle calibrated with neutral faces"):
        NeutralBaseline(NeutralSettings(enabled=True), None)
    for bad in ({"seconds": 0.0}, {"seconds": 61.0}, {"bound": 5.0}, {"bound": 0.0}):
        with pytest.raises(CalibrationError, match="neutral"):
            NeutralSettings(**bad)  # type: ignore[arg-type]


def test_what_the_daemon_needs_of_calibration_imports_numpy_alone() -> None:
    code = (
        "import sys\n"
        "for name in ('torch', 'scipy', 'matplotlib', 'sklearn'): sys.modules[name] = None\n"
        "import calibration.apply, calibration.neutral"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
