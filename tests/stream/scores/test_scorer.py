"""The fixed order of a face's scores: shift, calibration, smoothing, label; and when each begins anew."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from calibration.apply import Calibration
from calibration.settings import CalibrationError, NeutralSettings
from engine.bundle import softmax
from engine.spec import SEVEN_CLASSES
from stream.scores.scorer import FaceScores, Scorer
from stream.scores.settings import ScoreSettings, SmoothSettings
from stream.window.result import WindowScore

S = 1_000_000_000
COOL = Calibration(SEVEN_CLASSES, "temperature", (0.5,) * 7, threshold=0.3, neutral_logits=(0.0,) * 7)


def window(top: int, t_ns: int, height: float = 4.0, now: int | None = None) -> WindowScore:
    """The score of a window whose largest logit is `height` at class `top`."""
    logits = np.zeros(7, np.float32)
    logits[top] = height
    quick = None if now is None else np.eye(7, dtype=np.float32)[now] * height
    return WindowScore(logits, np.array([0.123456, 0.876544], np.float32), quick, t_ns, frame_id=t_ns // 1000)


def values(scores: dict[str, float] | None) -> npt.NDArray[np.float64]:
    assert scores is not None
    assert tuple(scores) == SEVEN_CLASSES
    return np.array(list(scores.values()))


def test_a_full_window_is_calibrated_smoothed_and_labelled() -> None:
    scorer = Scorer(SEVEN_CLASSES, COOL, ScoreSettings())
    first = scorer.step("f", window(3, S, now=1), full=True)
    expected = softmax(np.eye(7)[3] * 4 * 0.5)
    assert (first.t_ns, first.frame_id, first.relevance) == (S, S // 1000, [0.12346, 0.87654])
    np.testing.assert_allclose(values(first.logits), np.eye(7)[3] * 4)
    np.testing.assert_allclose(values(first.probs), expected, atol=1e-6)
    np.testing.assert_allclose(values(first.now), softmax(np.eye(7)[1] * 4 * 0.5), atol=1e-6)
    np.testing.assert_allclose(values(first.smoothed), expected, atol=1e-6)
    assert first.label == SEVEN_CLASSES[3]
    assert first.confidence == pytest.approx(expected[3], abs=1e-6)
    assert first.neutral_shift is None
    # A quarter of a second is one time constant: 63 % of the way, in `smoothed` alone.
    second = scorer.step("f", window(0, S + S // 4), full=True)
    after = softmax(np.eye(7)[0] * 4 * 0.5)
    np.testing.assert_allclose(values(second.probs), after, atol=1e-6)
    np.testing.assert_allclose(values(second.smoothed), after + np.exp(-1) * (expected - after), atol=1e-5)
    # The class that was held is no longer sure enough, and the other has not led for long enough.
    assert second.label is None
    assert second.confidence == values(second.smoothed)[3]
    assert second.now is None


def test_a_window_that_is_filling_has_probabilities_but_no_label() -> None:
    scorer = Scorer(SEVEN_CLASSES, COOL, ScoreSettings(neutral=NeutralSettings(True, 0.5)))
    for tick in range(8):
        said = scorer.step("f", window(3, tick * S), full=False)
        assert said.probs is not None
        assert (said.smoothed, said.label, said.confidence, said.neutral_shift) == (None, None, None, None)


def test_the_same_score_is_said_again_until_the_head_has_run() -> None:
    scorer = Scorer(SEVEN_CLASSES, COOL, ScoreSettings())
    said = scorer.step("f", window(3, S), full=True)
    assert scorer.step("f", window(0, S), full=True) is said
    assert scorer.step("g", window(0, S), full=True).label == SEVEN_CLASSES[0]


def test_the_calibration_and_its_threshold_can_be_switched_off() -> None:
    unsure = window(3, S, height=1.0)
    calibrated = Scorer(SEVEN_CLASSES, COOL, ScoreSettings()).step("f", unsure, full=True)
    plain = Scorer(SEVEN_CLASSES, COOL, ScoreSettings(calibrate=False)).step("f", unsure, full=True)
    assert calibrated.label is None  # 0.216 of a threshold of 0.3
    assert plain.label == SEVEN_CLASSES[3]
    np.testing.assert_allclose(values(plain.probs), softmax(unsure.logits), atol=1e-6)


def test_a_persons_shift_comes_before_the_calibration_for_now_as_well() -> None:
    scorer = Scorer(SEVEN_CLASSES, COOL, ScoreSettings(neutral=NeutralSettings(True, 1.0, 1.0)))
    settled = [scorer.step("f", window(3, t * S // 2, now=3), full=True) for t in range(3)][-1]
    shift = values(settled.neutral_shift)
    assert shift[3] == -1  # as far as the bound allows
    expected = softmax((np.eye(7)[3] * 4 + shift) * 0.5)
    np.testing.assert_allclose(values(settled.probs), expected, atol=1e-5)
    np.testing.assert_allclose(values(settled.now), expected, atol=1e-5)
    with pytest.raises(CalibrationError, match="neutral faces"):
        Scorer(SEVEN_CLASSES, COOL, ScoreSettings(calibrate=False, neutral=NeutralSettings(True)))


def test_a_model_that_scores_single_samples_is_labelled_by_them_from_the_first_on() -> None:
    cool_now = Calibration(SEVEN_CLASSES, "temperature", (1.0,) * 7, threshold=0.8, neutral_logits=(0.0,) * 7)
    both = replace(COOL, now=cool_now)
    scorer = Scorer(SEVEN_CLASSES, both, ScoreSettings(), has_now=True)
    assert (scorer.moment, scorer.delay_s) == ("now", 0)
    first = scorer.step("f", window(3, S, now=1), full=False)
    expected = softmax(np.eye(7)[1] * 4)
    np.testing.assert_allclose(values(first.now), expected, atol=1e-6)
    np.testing.assert_allclose(values(first.probs), softmax(np.eye(7)[3] * 2), atol=1e-6)
    assert first.smoothed == first.now
    assert (first.ready, first.label, first.onset_ns) == (True, SEVEN_CLASSES[1], S)
    assert first.confidence == pytest.approx(expected[1], abs=1e-6)
    after = scorer.step("f", window(3, S + S // 8, now=0), full=False)
    assert (after.label, after.onset_ns) == (SEVEN_CLASSES[0], S + S // 8)
    # The threshold is that of single samples; the label goes with the second one under it.
    unsure = [scorer.step("f", window(3, S + k * S // 8, height=3.0, now=0), full=True) for k in (2, 3)]
    assert [each.label for each in unsure] == [SEVEN_CLASSES[0], None]
    assert (unsure[1].onset_ns, unsure[1].ready) == (None, True)
    # Whoever asks for the window gets it, as do models that know nothing else.
    for has_now, label in ((True, "window"), (False, "now")):
        slow = Scorer(SEVEN_CLASSES, both, ScoreSettings(label=label), has_now=has_now)  # type: ignore[arg-type]
        assert slow.moment == "window"
        assert slow.step("f", window(3, S, now=1), full=False).ready is False
        said = slow.step("f", window(3, 2 * S, now=1), full=True)
        assert (said.ready, said.label, said.smoothed) == (True, SEVEN_CLASSES[3], said.probs)


def test_a_label_of_now_shifts_by_the_logits_of_now() -> None:
    settings = ScoreSettings(neutral=NeutralSettings(True, 1.0, 1.0))
    scorer = Scorer(SEVEN_CLASSES, COOL, settings, has_now=True)
    settled = [scorer.step("f", window(3, t * S // 2, now=1), full=False) for t in range(3)][-1]
    assert values(settled.neutral_shift).argmin() == 1


@pytest.mark.parametrize("call", ["", "restart", "reset", "reset_all"])
def test_the_label_of_now_is_read_against_the_faces_own_rest_and_now_is_not(call: str) -> None:
    # At rest neutral leads sadness by 3 logits where the bundle's neutral faces do by 1.
    cool = replace(COOL, now=Calibration(SEVEN_CLASSES, neutral_logits=(0.0, 1.0, 2.0, 0.0, 0.0, 0.0, 0.0)))
    logits = {
        name: np.array([[0.0, sad, 3.0, 0.0, 0.0, 0.0, 0.0]], np.float32) for name, sad in (("rest", 0), ("sad", 2))
    }
    for own, gain in ((True, 2.0), (False, 0.0)):
        scorer = Scorer(SEVEN_CLASSES, cool, ScoreSettings(own_rest=own), has_now=True)

        def said(kind: str, t: int, scorer: Scorer = scorer) -> FaceScores:
            return scorer.step("f", replace(window(2, t * S // 8), now=logits[kind][0]), full=False)

        for t in range(80):
            assert said("rest", t).label == "neutral"
        if call:
            getattr(scorer, call)(*([] if call == "reset_all" else ["f"]))
        sad = said("sad", 80)
        np.testing.assert_allclose(values(sad.now), softmax(logits["sad"][0]), atol=1e-5)
        read = values(sad.smoothed)
        expected = -1.0 + (gain if call in ("", "restart") else 0.0)
        assert np.log(read[1] / read[2]) == pytest.approx(expected, abs=0.1)


@pytest.mark.parametrize(("call", "shifted"), [("restart", True), ("reset", False), ("reset_all", False)])
def test_what_beginning_anew_forgets(call: str, shifted: bool) -> None:
    settings = ScoreSettings(neutral=NeutralSettings(True, 0.5, 0.1), calm=SmoothSettings(time_constant_s=60, gap_s=60))
    scorer = Scorer(SEVEN_CLASSES, COOL, settings)
    for face in ("f", "other"):
        for t in range(3):
            said = scorer.step(face, window(3, t * S // 2), full=True)
        assert said.neutral_shift is not None
    getattr(scorer, call)(*([] if call == "reset_all" else ["f"]))

    def at_once(face: str) -> FaceScores:
        return scorer.step(face, window(0, S), full=True)

    anew = at_once("f")
    assert anew.label == SEVEN_CLASSES[0]  # neither the held score nor what was smoothed before
    assert (anew.neutral_shift is not None) == shifted
    assert at_once("other").label == SEVEN_CLASSES[0 if call == "reset_all" else 3]
