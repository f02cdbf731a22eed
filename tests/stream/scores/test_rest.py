"""A face's own rest: what it hardly shows counts for more, what it always shows for less; only rest is learnt."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.spec import SEVEN_CLASSES
from stream.scores.rest import LESS, MORE, OwnRest

NEUTRAL, SAD, HAPPY = (SEVEN_CLASSES.index(name) for name in ("neutral", "sadness", "happiness"))
S = 1_000_000_000
REFERENCE = np.array([-6.0, -3.5, 0.0, -7.0, -8.0, -7.5, -9.0])
Probs = npt.NDArray[np.float64]


def face(**odds: float) -> Probs:
    """Probabilities whose log odds against rest are the reference's but for those named."""
    logs = REFERENCE.copy()
    for name, value in odds.items():
        logs[SEVEN_CLASSES.index(name)] = value
    probs = np.exp(logs)
    return np.asarray(probs / probs.sum(), np.float64)


def odds(probs: Probs, name: str) -> float:
    return float(np.log(probs[SEVEN_CLASSES.index(name)] / probs[NEUTRAL]))


def watch(rest: OwnRest, probs: Probs, shown: str | None, seconds: float = 3.0, start: int = 0) -> int:
    """Show the same for a while at 8 Hz; the time after it."""
    times = [start + i * S // 8 for i in range(round(seconds * 8))]
    for t in times:
        rest.step("f", probs, t, shown)
    return times[-1] + S // 8


def test_a_face_that_looks_sad_at_rest_must_look_sadder_and_one_that_never_does_less() -> None:
    for at_rest, least in ((-0.2, -LESS), (-8.0, MORE), (-2.9, -0.6), (-4.5, 1.0)):
        rest = OwnRest(SEVEN_CLASSES, REFERENCE)
        t = watch(rest, face(sadness=at_rest), "neutral", 60)
        read = rest.step("f", face(sadness=1.0), t, "neutral")
        assert odds(read, "sadness") == pytest.approx(1.0 + least, abs=0.05)
        # Nothing else moves, and another face is read as it is.
        assert odds(read, "surprise") == pytest.approx(REFERENCE[SEVEN_CLASSES.index("surprise")], abs=0.01)
        np.testing.assert_allclose(rest.step("g", face(sadness=1.0), t, None), face(sadness=1.0), atol=1e-9)


def test_the_first_score_is_read_as_it_is_and_rest_is_known_after_a_second() -> None:
    rest = OwnRest(SEVEN_CLASSES, REFERENCE)
    np.testing.assert_allclose(rest.step("f", face(sadness=0.3), 0, None), face(sadness=0.3), atol=1e-9)
    read = rest.step("f", face(sadness=0.3), watch(rest, face(sadness=0.3), None, 1.0), None)
    assert odds(read, "sadness") == pytest.approx(0.3 - LESS, abs=1e-6)


@pytest.mark.parametrize("shown", ["happiness", "sadness"])
def test_what_is_shown_as_an_expression_is_not_learnt_nor_the_silence_after_it(shown: str) -> None:
    rest = OwnRest(SEVEN_CLASSES, REFERENCE)
    t = watch(rest, face(sadness=2.0), shown)
    t = watch(rest, face(sadness=0.2), None, start=t)
    assert odds(rest.step("f", face(sadness=0.2), t, None), "sadness") == pytest.approx(0.2)
    # Shown at rest again, it is.
    t = watch(rest, face(sadness=0.2), "neutral", start=t + S // 8)
    assert odds(rest.step("f", face(sadness=0.2), t, "neutral"), "sadness") == pytest.approx(0.2 - LESS)


def test_what_clearly_leads_rest_is_no_rest_even_before_the_label_says_so() -> None:
    rest = OwnRest(SEVEN_CLASSES, REFERENCE)
    t = watch(rest, face(), "neutral")
    t = watch(rest, face(happiness=3.0), "neutral", start=t)
    assert odds(rest.step("f", face(happiness=3.0), t, "neutral"), "happiness") == pytest.approx(3.0, abs=0.01)


def test_without_a_reference_or_a_class_of_rest_nothing_changes() -> None:
    two = np.array([0.4, 0.6])
    for rest, probs in (
        (OwnRest(SEVEN_CLASSES, None), face(sadness=0.3)),
        (OwnRest(("joy", "grief"), np.zeros(2)), two),
    ):
        for t in range(20):
            np.testing.assert_array_equal(rest.step("f", probs, t * S // 8, None), probs)


def test_a_face_that_is_forgotten_is_new() -> None:
    for call in ("reset", "reset_all"):
        rest = OwnRest(SEVEN_CLASSES, REFERENCE)
        t = watch(rest, face(sadness=0.0), "neutral")
        rest.reset("f") if call == "reset" else rest.reset_all()
        np.testing.assert_allclose(rest.step("f", face(sadness=0.0), t, None), face(sadness=0.0), atol=1e-9)


@given(
    st.lists(
        st.tuples(
            st.lists(st.floats(0, 1), min_size=7, max_size=7).filter(lambda each: sum(each) > 0.01),
            st.integers(0, 3 * S),
            st.sampled_from([None, *SEVEN_CLASSES]),
        ),
        min_size=1,
        max_size=30,
    )
)
def test_what_comes_out_is_a_distribution_within_the_bounds(series: list[tuple[list[float], int, str | None]]) -> None:
    rest, t = OwnRest(SEVEN_CLASSES, REFERENCE), 0
    for each, dt, shown in series:
        t += dt
        probs = np.array(each) / sum(each)
        read = rest.step("f", probs, t, shown)
        assert read.sum() == pytest.approx(1)
        moved = np.log(read / read[NEUTRAL]) - np.log(np.maximum(probs, 1e-6) / max(probs[NEUTRAL], 1e-6))
        assert moved.min() >= -LESS - 1e-6
        assert moved.max() <= MORE + 1e-6
