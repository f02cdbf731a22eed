from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.window.clock import NS_PER_S, SampleClock


def sampled(times_ns: list[int], hz: float) -> dict[int, int]:
    clock = SampleClock(hz)
    ticks: dict[int, int] = {}
    for t in times_ns:
        tick = clock.advance(t)
        if tick is not None:
            assert tick not in ticks
            ticks[tick] = t
    return ticks


@given(
    st.lists(st.integers(0, 400_000_000), min_size=1, max_size=200),
    st.sampled_from([4.0, 8.0, 12.5, 24.0, 32.0, 29.97]),
    st.integers(0, 10**15),
)
def test_the_sample_of_a_tick_is_the_first_frame_at_or_after_it(steps: list[int], hz: float, start: int) -> None:
    times = [start]
    for step in steps:
        times.append(times[-1] + step)
    ticks = sampled(times, hz)
    period = NS_PER_S / hz
    for tick, t in ticks.items():
        assert tick * period - 1 <= t - start < (tick + 1) * period + 1
        earlier = [u for u in times if tick * period + 1 <= u - start and u < t]
        assert not earlier, "an earlier frame of this tick was passed over"


def test_a_steady_camera_is_sampled_at_the_models_rate_whatever_its_own() -> None:
    for fps in (10, 24, 25, 30, 60, 120):
        times = [round(i * NS_PER_S / fps) for i in range(fps * 10)]
        assert len(sampled(times, 8)) == 80


@given(st.lists(st.integers(-20_000_000, 20_000_000), min_size=300, max_size=300))
def test_jitter_of_half_a_frame_loses_no_tick(jitter: list[int]) -> None:
    times = sorted(round(i * NS_PER_S / 30) + j + NS_PER_S for i, j in enumerate(jitter))
    ticks = sorted(sampled(times, 8))
    assert ticks == list(range(ticks[0], ticks[-1] + 1))


def test_dropped_frames_leave_their_ticks_out() -> None:
    times = [round(i * NS_PER_S / 30) for i in range(300) if not 100 <= i < 130]
    ticks = sampled(times, 8)
    missing = set(range(80)) - set(ticks)
    assert missing == set(range(27, 34))


def test_the_clock_does_not_drift_in_a_month() -> None:
    clock = SampleClock(8)
    clock.advance(0)
    month = 30 * 24 * 3600
    assert clock.advance(month * NS_PER_S) == month * 8


@pytest.mark.parametrize("hz", [0.0, -8.0, float("nan")])
def test_a_rate_that_is_none_is_refused(hz: float) -> None:
    with pytest.raises(ValueError, match="sample_hz must be above 0"):
        SampleClock(hz)


def test_time_going_backwards_gives_no_sample_and_reset_starts_anew() -> None:
    clock = SampleClock(8)
    assert clock.advance(5 * NS_PER_S) == 0
    assert clock.advance(6 * NS_PER_S) == 8
    assert clock.advance(4 * NS_PER_S) is None
    clock.reset()
    assert clock.advance(4 * NS_PER_S) == 0
