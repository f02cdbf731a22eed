"""How quick, right and calm labels are: on series whose figures can be said by hand."""

from __future__ import annotations

import math

import pytest

from calibration.metrics.dynamics import Segment, Shown, dynamics, first_label_s, right_interval, trace


def series(*stretches: tuple[float, str | None], hz: float = 10) -> list[Shown]:
    """Each label up to a moment, s."""
    shown, t_s, end_s = [], 0.0, 0.0
    for end_s, label in stretches:
        while t_s < end_s - 1e-9:
            shown.append(Shown(round(t_s, 6), label))
            t_s += 1 / hz
    return shown


SMILE = Segment("a", 2.0, 4.0, "happiness", "ann")
REST = Segment("a", 4.0, 6.0, "neutral", "ann")


def test_onset_release_and_what_is_right_of_a_smile() -> None:
    shown = series((2.3, "neutral"), (4.2, "happiness"), (6, "neutral"))
    smile, rest = trace(SMILE, shown), trace(REST, shown)
    assert smile.onset_s == pytest.approx(0.3)
    assert smile.release_s == pytest.approx(0.2)
    assert (smile.right, smile.other, smile.moments) == (17, 3, 20)
    # The first three tenths of a rest are its settling.
    assert (rest.onset_s, rest.right, rest.other, rest.none, rest.switches) == (None, 17, 0, 0, 0)
    found = dynamics([smile, rest], [0.1])
    assert (found.segments, found.shown) == (1, 1)
    assert found.right == pytest.approx(17 / 20)
    assert (found.rest_switches_hz, found.rest_other, found.first_label_s) == (0, 0, 0.1)
    assert math.isnan(found.restless_hz)


def test_a_label_that_is_never_shown_or_never_left() -> None:
    never = trace(SMILE, series((6, "neutral")))
    assert (never.onset_s, never.release_s) == (math.inf, None)
    stays = trace(SMILE, series((2, "neutral"), (6, "happiness")))
    assert (stays.onset_s, stays.release_s) == (0, math.inf)
    # The clip ends too early to tell.
    assert trace(SMILE, series((2, "neutral"), (4.5, "happiness"))).release_s is None
    # One that has left before its end is left at once.
    assert trace(SMILE, series((2, "neutral"), (3, "happiness"), (6, None))).release_s == 0
    found = dynamics([never, stays])
    assert (found.shown, found.onset_median_s, found.onset_p90_s) == (1, 0, 0)
    assert found.release_max_s == math.inf


def test_rest_counts_every_change_and_every_other_label() -> None:
    shown = series((4.5, "neutral"), (4.8, None), (5.2, "sadness"), (6, "neutral"))
    rest = trace(REST, shown)
    assert (rest.switches, rest.none, rest.other, rest.right) == (3, 3, 4, 10)
    found = dynamics([rest])
    assert found.rest_switches_hz == pytest.approx(3 / 1.6)
    assert [found.rest_other, found.rest_none] == pytest.approx([4 / 17, 3 / 17])
    # Too short a rest says nothing; grimaces count by their changes alone.
    assert math.isnan(dynamics([trace(Segment("a", 4, 5.2, "neutral"), shown)]).rest_other)
    acted = trace(Segment("a", 4.2, 6.0, "contorted"), shown)
    assert dynamics([acted]).restless_hz == pytest.approx(3 / acted.length_s)


def test_what_begins_before_the_warm_up_has_no_onset() -> None:
    shown = series((2, None), (6, "happiness"))
    early = trace(Segment("a", 1.0, 4.0, "happiness"), shown, warm_s=2.2)
    assert (early.onset_s, early.right, early.moments) == (None, 18, 18)


def test_intervals_are_over_people_and_a_gain_is_zero_over_oneself() -> None:
    good, bad = series((6, "happiness")), series((6, "neutral"))
    mine = [trace(Segment("a", 2, 4, "happiness", person), good if person in "abc" else bad) for person in "abcdef"]
    low, high = right_interval(mine)
    assert 0 <= low < 0.5 < high <= 1
    assert right_interval(mine, mine) == (0, 0)
    worse = [trace(each.segment, bad) for each in mine]
    assert list(right_interval(mine, worse)) == pytest.approx([low, high])
    assert all(math.isnan(each) for each in right_interval([]))


def test_the_first_label_counts_from_its_own_face() -> None:
    late = [Shown(5.0, None), Shown(5.1, None), Shown(5.2, "fear")]
    assert first_label_s({"1": late, "2": [Shown(0.0, None)]}) == pytest.approx(0.2)
    assert first_label_s({"1": late[:2]}) == math.inf
    assert math.isnan(first_label_s({}))
