from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import DferError
from engine.settings import SettingsError
from engine.spec import SEVEN_CLASSES
from stream.scores.settings import SmoothSettings
from stream.scores.smooth import Smoother

NEUTRAL, HAPPY = SEVEN_CLASSES.index("neutral"), SEVEN_CLASSES.index("happiness")
S = 1_000_000_000


def peak(index: int, height: float = 0.8) -> npt.NDArray[np.float64]:
    probs = np.full(7, (1 - height) / 6)
    probs[index] = height
    return probs


def labels(smoother: Smoother, series: list[npt.NDArray[np.float64]], hz: float) -> list[str | None]:
    return [smoother.step("f", probs, int(i * S / hz)).label for i, probs in enumerate(series)]


def switches(series: list[str | None]) -> int:
    return sum(a != b for a, b in itertools.pairwise(series))


probs = st.lists(st.floats(0.01, 1), min_size=7, max_size=7).map(lambda x: np.asarray(x) / sum(x))
settings = st.builds(
    SmoothSettings,
    smooth=st.booleans(),
    time_constant_s=st.floats(0.01, 5),
    hysteresis=st.booleans(),
    margin=st.floats(0, 0.5),
    dwell_s=st.floats(0, 1),
    abstain=st.booleans(),
    abstain_below=st.none() | st.floats(0, 0.9),
    abstain_margin=st.floats(0, 0.1),
)


@given(settings, st.lists(st.tuples(probs, st.integers(1, 3 * S)), min_size=1, max_size=30))
def test_smoothed_stays_a_distribution_and_the_label_is_the_held_class_or_none(
    chosen: SmoothSettings, series: list[tuple[npt.NDArray[np.float64], int]]
) -> None:
    smoother, t = Smoother(SEVEN_CLASSES, chosen), 0
    for each, dt in series:
        t += dt
        score = smoother.step("f", each, t)
        assert score.smoothed.sum() == pytest.approx(1)
        assert score.smoothed.min() >= 0
        assert score.label in (None, score.held)
        assert score.confidence == pytest.approx(score.smoothed[SEVEN_CLASSES.index(score.held)])
        if score.label is not None:
            assert score.confidence >= smoother.threshold
        if not chosen.abstain:
            assert score.label is not None


@given(st.floats(0.05, 3), st.lists(st.floats(0.004, 0.9), min_size=1, max_size=20), probs, probs)
def test_smoothing_depends_on_time_and_not_on_how_many_scores_came(
    tau: float, steps: list[float], before: npt.NDArray[np.float64], after: npt.NDArray[np.float64]
) -> None:
    chosen = SmoothSettings(time_constant_s=tau, gap_s=60)
    many, one = Smoother(SEVEN_CLASSES, chosen), Smoother(SEVEN_CLASSES, chosen)
    many.step("f", before, 0)
    one.step("f", before, 0)
    t = 0
    for dt in steps:
        t += int(dt * S)
        last = many.step("f", after, t)
    np.testing.assert_allclose(last.smoothed, one.step("f", after, t).smoothed, atol=1e-9)
    np.testing.assert_allclose(last.smoothed, after + np.exp(-t / S / tau) * (before - after), atol=1e-9)


@given(settings, st.lists(probs, min_size=2, max_size=60))
def test_a_label_never_switches_twice_within_the_dwell(
    chosen: SmoothSettings, series: list[npt.NDArray[np.float64]]
) -> None:
    chosen = dataclasses.replace(chosen, hysteresis=True, abstain=False)
    smoother, since = Smoother(SEVEN_CLASSES, chosen), 0
    held = None
    for i, each in enumerate(series):
        t = i * S // 8
        label = smoother.step("f", each, t).label
        if held is not None and label != held:
            assert t - since >= smoother.rates.dwell_s * S
            since = t
        held = label


@given(settings, st.lists(probs, min_size=1, max_size=12), st.lists(probs, min_size=1, max_size=12))
def test_a_reset_face_is_as_new_and_faces_do_not_mix(
    chosen: SmoothSettings, first: list[npt.NDArray[np.float64]], second: list[npt.NDArray[np.float64]]
) -> None:
    used, fresh = Smoother(SEVEN_CLASSES, chosen), Smoother(SEVEN_CLASSES, chosen)
    for i, each in enumerate(first):
        used.step("a", each, i * S // 8)
        used.step("b", second[0], i * S // 8)
    used.reset("a")
    for i, each in enumerate(second):
        t = (len(first) + i) * S // 8
        got, want = used.step("a", each, t), fresh.step("a", each, t)
        np.testing.assert_array_equal(got.smoothed, want.smoothed)
        assert got.label == want.label
    used.reset_all()
    assert len(used) == 0


@pytest.mark.parametrize("hz", [4, 8, 24, 30])
def test_the_label_follows_a_true_change_at_any_rate(hz: int) -> None:
    smoother = Smoother(SEVEN_CLASSES)
    out = labels(smoother, [peak(NEUTRAL)] * (2 * hz) + [peak(HAPPY)] * (2 * hz), hz)
    assert out[2 * hz - 1] == "neutral"
    after = out[2 * hz :].index("happiness") / hz
    assert after <= 0.55 + 1 / hz
    assert switches(out) == 1


def test_the_label_follows_within_its_bound_behind_a_mean_of_a_two_second_window() -> None:
    # The slowest honest window head: its probabilities cross over only after half a window, 1 s.
    hz, window = 8, 16
    truth = [peak(NEUTRAL, 0.9)] * 24 + [peak(HAPPY, 0.9)] * 24
    means = [np.mean(truth[max(0, i - window + 1) : i + 1], axis=0) for i in range(len(truth))]
    out = labels(Smoother(SEVEN_CLASSES), means, hz)
    assert (out.index("happiness") - 24) / hz <= 1.625
    assert switches(out) == 1


def test_flickering_neutral_speech_switches_less_than_every_third_second() -> None:
    # Twenty minutes of a mouth that opens and looks surprised or happy for a few samples: every 250 ms one in three
    # looks wrong.
    rng = np.random.default_rng(14)
    seconds, hz = 1200, 8
    moments = np.repeat(rng.choice([NEUTRAL, HAPPY, 4], size=seconds * 4, p=[2 / 3, 1 / 6, 1 / 6]), 2)
    raw = [peak(int(index), 0.7) for index in moments]
    # `probs` speaks for a window, here its shortest reasonable part.
    series = [np.mean(raw[max(0, i - 7) : i + 1], axis=0) for i in range(len(raw))]
    plain = labels(Smoother(SEVEN_CLASSES, SmoothSettings(smooth=False, hysteresis=False)), series, hz)
    steady = labels(Smoother(SEVEN_CLASSES), series, hz)
    assert switches(steady) < switches(plain) / 2
    assert switches(steady) / seconds < 1 / 3


def test_a_challenger_must_lead_by_the_margin_for_the_whole_dwell_without_a_break() -> None:
    chosen = SmoothSettings(smooth=False, margin=0.3, dwell_s=0.25, abstain=False)
    led, close = peak(HAPPY), 0.7 * peak(NEUTRAL) + 0.3 * peak(HAPPY)
    held = [peak(NEUTRAL)] * 2
    assert labels(Smoother(SEVEN_CLASSES, chosen), [*held, *[led] * 4], 10)[2:] == [*["neutral"] * 3, "happiness"]
    broken = labels(Smoother(SEVEN_CLASSES, chosen), [*held, led, led, close, led, led, led, led], 10)
    assert broken[2:] == [*["neutral"] * 6, "happiness"]
    barely = 0.4 * peak(NEUTRAL) + 0.6 * peak(HAPPY)  # leads by 0.13
    assert set(labels(Smoother(SEVEN_CLASSES, chosen), [*held, *[barely] * 20], 10)) == {"neutral"}


def test_the_dwell_is_over_on_its_last_nanosecond() -> None:
    smoother = Smoother(SEVEN_CLASSES, SmoothSettings(smooth=False, dwell_s=0.2, abstain=False))
    said = [
        smoother.step("f", probs, t).label
        for t, probs in ((0, peak(NEUTRAL)), (S, peak(HAPPY)), (S + S // 5 - 1, peak(HAPPY)), (S + S // 5, peak(HAPPY)))
    ]
    assert said == ["neutral", "neutral", "neutral", "happiness"]


@pytest.mark.parametrize(("smooth", "hysteresis"), [(True, True), (True, False), (False, True), (False, False)])
def test_the_label_follows_a_jump_of_certain_probabilities_after_the_stated_delay(
    smooth: bool, hysteresis: bool
) -> None:
    chosen = SmoothSettings(smooth=smooth, hysteresis=hysteresis, gap_s=60, abstain=False)
    smoother = Smoother(SEVEN_CLASSES, chosen)
    smoother.step("f", np.eye(7)[NEUTRAL], 0)
    after = next(ms for ms in range(1, 5000) if smoother.step("f", np.eye(7)[HAPPY], ms * 10**6).label == "happiness")
    assert after / 1e3 == pytest.approx(smoother.delay_s, abs=0.003)


def test_a_label_of_now_changes_with_the_first_score_that_leads_and_stays_for_less() -> None:
    smoother = Smoother(SEVEN_CLASSES, SmoothSettings(), threshold=0.3, moment="now")
    assert smoother.delay_s == 0
    close = 0.6 * peak(NEUTRAL) + 0.4 * peak(HAPPY)
    other = 0.4 * peak(NEUTRAL) + 0.6 * peak(HAPPY)  # leads by 0.15
    series = [peak(NEUTRAL), close, other, peak(HAPPY), other, close, peak(NEUTRAL)]
    expected = ["neutral"] * 3 + ["happiness"] * 3 + ["neutral"]
    assert labels(smoother, series, 8) == expected
    slow = Smoother(SEVEN_CLASSES, SmoothSettings(), threshold=0.3)
    assert labels(slow, series, 8)[3] == "neutral"
    # What is set counts for either moment.
    sure = Smoother(SEVEN_CLASSES, SmoothSettings(margin=0.1, time_constant_s=None), threshold=0.3, moment="now")
    assert labels(sure, series, 8)[2] == "happiness"


@given(st.floats(0.05, 0.6), st.integers(0, 1000), st.sampled_from([8, 16, 30]))
def test_a_grimacing_face_changes_its_label_three_times_in_four_seconds_at_most(
    hold: float, seed: int, hz: int
) -> None:
    # Every so often another class, sure of itself or not: the argmax changes up to twenty times a second.
    rng, series = np.random.default_rng(seed), list[npt.NDArray[np.float64]]()
    while len(series) < 30 * hz:
        series += [peak(int(rng.integers(7)), float(rng.uniform(0.4, 0.95)))] * max(round(hold * hz), 1)
    out = labels(Smoother(SEVEN_CLASSES, threshold=0.5, moment="now"), series, hz)
    assert switches(out[5 * hz :]) / 25 <= 0.8


def test_of_a_calm_face_nothing_waits_and_of_a_wild_one_everything_for_a_while() -> None:
    hz = 8
    smoother = Smoother(SEVEN_CLASSES, threshold=0.5, moment="now")
    calm = [*[peak(NEUTRAL)] * 20, *[peak(HAPPY)] * 14] * 3
    assert labels(smoother, calm, hz) == [*["neutral"] * 20, *["happiness"] * 14] * 3
    grimaces = [peak(k % 7 if k % 7 not in (NEUTRAL, HAPPY) else 4) for k in range(24)]
    for after in (NEUTRAL, HAPPY):
        smoother.reset_all()
        said = labels(smoother, [*grimaces, *[peak(after)] * 40, peak(NEUTRAL)], hz)[24:]
        waits = said.index(SEVEN_CLASSES[after]) / hz
        assert 0.25 <= waits <= 1.25
        assert said[-1] == "neutral"


def test_an_expression_is_shown_by_a_little_more_than_the_threshold_the_first_one_by_still_more() -> None:
    smoother = Smoother(SEVEN_CLASSES, threshold=0.5, moment="now")
    assert labels(smoother, [peak(HAPPY, 0.6), peak(HAPPY, 0.66), peak(HAPPY, 0.52)], 8) == [None, *["happiness"] * 2]
    smoother.reset_all()
    unsure = [peak(NEUTRAL, 0.51), *[peak(HAPPY, 0.54)] * 3, peak(HAPPY, 0.57)]
    assert labels(smoother, unsure, 2) == ["neutral", "neutral", None, None, "happiness"]
    # However sure one must be, one can be.
    strict = Smoother(SEVEN_CLASSES, SmoothSettings(abstain_below=0.95), moment="now")
    assert labels(strict, [peak(HAPPY, 0.98)], 8) == ["happiness"]


def test_a_label_that_wavers_for_a_moment_stays_and_one_that_would_be_withheld_takes_nothing() -> None:
    hz, low = 8, 0.45
    smoother = Smoother(SEVEN_CLASSES, threshold=0.5, moment="now")
    rest = [peak(NEUTRAL), peak(NEUTRAL, low), peak(NEUTRAL, low), peak(NEUTRAL), *[peak(NEUTRAL, low)] * 3]
    assert labels(smoother, rest, hz) == ["neutral"] * 6 + [None]
    smoother.reset_all()
    smile = [peak(HAPPY), peak(HAPPY, low), peak(HAPPY), peak(HAPPY, low), peak(HAPPY, low)]
    assert labels(smoother, smile, hz) == ["happiness"] * 4 + [None]
    smoother.reset_all()
    assert labels(smoother, [peak(HAPPY), *[peak(NEUTRAL, low)] * 2], hz) == ["happiness", "happiness", None]
    # At once with each step switched off.
    quick = SmoothSettings(abstain_dwell_s=0, hysteresis=False)
    assert labels(Smoother(SEVEN_CLASSES, quick, 0.5, "now"), smile, hz)[1] is None


def test_the_onset_is_the_score_with_which_the_class_first_led() -> None:
    chosen = SmoothSettings(smooth=False, margin=0.3, dwell_s=0.25, abstain_margin=0)
    smoother = Smoother(SEVEN_CLASSES, chosen, threshold=0.5)
    series = [peak(NEUTRAL), peak(NEUTRAL), *[peak(HAPPY)] * 4, peak(HAPPY, 0.45), peak(HAPPY), peak(HAPPY)]
    said = [smoother.step("f", each, 10 * S + i * S // 10) for i, each in enumerate(series)]
    assert [each.label for each in said] == ["neutral"] * 2 + [None] * 3 + ["happiness", None] + ["happiness"] * 2
    begun = [None if each.onset_ns is None else (each.onset_ns - 10 * S) * 10 // S for each in said]
    # It led from the third score on; an abstention in between begins it anew.
    assert begun == [0, 0, None, None, None, 5, None, 7, 7]


def test_a_gap_starts_anew() -> None:
    smoother = Smoother(SEVEN_CLASSES)
    smoother.step("f", peak(NEUTRAL), 0)
    score = smoother.step("f", peak(HAPPY), int(1.1 * S))
    assert score.label == "happiness"
    np.testing.assert_array_equal(score.smoothed, peak(HAPPY))


def test_a_score_that_is_not_newer_changes_nothing() -> None:
    smoother = Smoother(SEVEN_CLASSES)
    smoother.step("f", peak(NEUTRAL), S)
    for t in (S, S - 1, 0):
        np.testing.assert_array_equal(smoother.step("f", peak(HAPPY), t).smoothed, peak(NEUTRAL))


def test_abstention_takes_the_bundles_threshold_unless_told_and_does_not_blink() -> None:
    assert Smoother(SEVEN_CLASSES, threshold=0.4).threshold == 0.4
    assert Smoother(SEVEN_CLASSES).threshold == 0
    assert Smoother(SEVEN_CLASSES, SmoothSettings(abstain_below=0.6), threshold=0.4).threshold == 0.6
    assert Smoother(SEVEN_CLASSES, SmoothSettings(abstain=False), threshold=0.4).threshold == 0
    smoother = Smoother(SEVEN_CLASSES, SmoothSettings(smooth=False, abstain_margin=0.05), threshold=0.5)
    heights = [0.55, 0.49, 0.52, 0.549, 0.56, 0.51, 0.48]
    out = labels(smoother, [peak(NEUTRAL, height) for height in heights], 8)
    assert out == ["neutral", None, None, None, "neutral", "neutral", None]


def test_every_step_switched_off_gives_the_argmax() -> None:
    off = SmoothSettings(smooth=False, hysteresis=False, abstain=False)
    series = [peak(i % 7) for i in range(20)]
    assert labels(Smoother(SEVEN_CLASSES, off, 0.99), series, 8) == [SEVEN_CLASSES[i % 7] for i in range(20)]


@pytest.mark.parametrize(
    "bad",
    [
        {"time_constant_s": 0},
        {"gap_s": float("nan")},
        {"dwell_s": -1},
        {"restless_s": 11},
        {"abstain_dwell_s": -1},
        {"margin": 1},
        {"abstain_below": -0.1},
    ],
)
def test_settings_out_of_range_are_refused_by_name(bad: dict[str, float]) -> None:
    with pytest.raises(SettingsError, match=next(iter(bad))):
        SmoothSettings(**bad)  # type: ignore[arg-type]


def test_probabilities_that_are_not_numbers_are_refused() -> None:
    smoother = Smoother(SEVEN_CLASSES)
    with pytest.raises(DferError):
        smoother.step("f", np.full(7, np.nan), 0)
    with pytest.raises(DferError):
        smoother.step("f", np.full(3, 1 / 3), 0)
