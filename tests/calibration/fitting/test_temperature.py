from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import log_loss

from calibration import metrics
from calibration.apply import Calibration
from calibration.fitting import temperature
from calibration.settings import CalibrationError
from engine.bundle import softmax
from tests.calibration.samples import sample


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
    by_default, shift = temperature.fit_vector(spoilt, labels)
    np.testing.assert_allclose(by_default, scale, rtol=0.25)
    np.testing.assert_allclose(shift - shift.mean(), bias - bias.mean(), atol=0.35)
    pulled, _ = temperature.fit_vector(spoilt, labels, ridge=1e6)
    assert np.ptp(pulled) < 1e-3


def test_each_method_gives_what_its_name_says() -> None:
    logits, labels = sample(8, 400, classes=3, sharpness=2)
    none, one, each = (temperature.fit(method, logits, labels, "abc") for method in ("none", "temperature", "vector"))
    assert (none.scale, none.bias, none.method) == ((1, 1, 1), (0, 0, 0), "none")
    assert (len(set(one.scale)), one.bias, one.method) == (1, (0, 0, 0), "temperature")
    assert one.scale[0] == pytest.approx(1 / temperature.fit_temperature(logits, labels))
    assert (len(set(each.scale)), len(set(each.bias)), each.method) == (3, 3, "vector")
    with pytest.raises(CalibrationError, match="method must be one of"):
        temperature.fit("magic", logits, labels, "abc")


def test_classwise_temperatures_cool_the_class_that_is_too_sure_and_change_no_answer() -> None:
    rng = np.random.default_rng(4)
    logits = rng.normal(size=(3000, 3)) * 3
    answers, sure = logits.argmax(1), softmax(logits).max(1)
    # Answers of the last class are right half as often as they say.
    right = rng.random(3000) < np.where(answers == 2, sure / 2, sure)
    labels = np.where(right, answers, (answers + 1) % 3)
    made = temperature.fit("classwise", logits, labels, "abc")
    before, after = (np.abs(metrics.overconfidence(p, labels)) for p in (softmax(logits), made.probs(logits)))
    assert before[2] > 0.3
    assert after.max() < 0.05
    assert made.scale[2] < 0.5 * min(made.scale[:2])
    np.testing.assert_array_equal(made.probs(logits).argmax(1), answers)
    one = made.probs(logits[0])
    np.testing.assert_allclose(one, softmax(logits[0] * made.scale[int(answers[0])]))


def test_a_class_of_few_answers_keeps_near_the_common_temperature() -> None:
    logits, labels = sample(3, 500, classes=3, sharpness=2)
    logits[:, 2] -= 100
    logits[:2, 2] += 200
    labels[:2] = 0
    found = temperature.fit_classwise(logits, labels)
    common = temperature.fit_temperature(logits, labels)
    assert found[:2] == pytest.approx([common] * 2, rel=0.5)
    logits[:2, 2] -= 200
    assert temperature.fit_classwise(logits, labels)[2] == temperature.fit_temperature(logits, labels)


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


def test_the_largest_groups_are_dealt_first_each_to_the_emptiest_fold() -> None:
    groups = np.repeat(np.arange(5), [2, 3, 4, 5, 6])
    for seed in range(5):
        # 6 | 5, then 4 to the second, 3 to the first, and 2 to either.
        assert sorted(np.bincount(temperature.folds(groups, 2, seed))) == [9, 11]


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
