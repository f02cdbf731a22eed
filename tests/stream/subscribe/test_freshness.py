from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stream.publish.wire import boot_id
from stream.subscribe.freshness import Freshness

S = 1_000_000_000
MS = 1_000_000


def feed(
    judge: Freshness, count: int, hz: float, start_ns: int = 0, first_seq: int = 1, rate: float | None = None
) -> int:
    t = start_ns
    for i in range(count):
        t = start_ns + int(i * S / hz)
        judge.observe(seq=first_seq + i, session="a", t_arrival_ns=t, rate_hz=rate if rate is not None else hz)
    return t


@given(st.floats(1, 120))
def test_alive_while_younger_than_ten_periods(hz: float) -> None:
    judge = Freshness()
    last = feed(judge, 50, hz)
    assert judge.judge(last + int(9.9 / hz * S)).alive
    late = judge.judge(last + int(10.1 / hz * S))
    assert not late.alive
    assert not late.on_time


@given(st.floats(5, 120))
def test_on_time_at_nine_tenths_of_the_declared_rate(hz: float) -> None:
    good, poor = Freshness(), Freshness()
    assert good.judge(feed(good, 400, 0.93 * hz, rate=hz)).on_time
    verdict = poor.judge(feed(poor, 400, 0.8 * hz, rate=hz))
    assert verdict.alive
    assert not verdict.on_time
    assert abs(verdict.rate_hz - 0.8 * hz) < 0.08 * hz


def test_nothing_heard_is_not_alive() -> None:
    verdict = Freshness().judge(5 * S)
    assert not verdict.alive
    assert verdict.age_ms is None


def test_a_backlog_read_late_is_old_on_one_boot_and_young_between_machines() -> None:
    same, other = Freshness("boot"), Freshness("another")
    for judge in (same, other):
        judge.observe(seq=1, session="a", t_arrival_ns=100 * S, t_publish_ns=90 * S, boot="boot", rate_hz=30)
    assert same.judge(100 * S).age_ms == 10_000
    assert not same.judge(100 * S).alive
    assert other.judge(100 * S).age_ms == 0


def test_lost_messages_and_restarts_are_counted_and_repeats_are_not() -> None:
    judge = Freshness()
    for seq in (1, 2, 5, 5, 4):
        judge.observe(seq=seq, session="a", t_arrival_ns=seq * MS)
    assert judge.judge(6 * MS).lost == 2
    judge.observe(seq=1, session="b", t_arrival_ns=7 * MS)
    verdict = judge.judge(7 * MS)
    assert (verdict.lost, verdict.restarts) == (2, 1)


def test_a_new_declared_rate_starts_a_new_measurement() -> None:
    judge = Freshness()
    last = feed(judge, 100, 30)
    feed(judge, 6, 2, start_ns=last + S // 2, first_seq=101)
    verdict = judge.judge(last + 3 * S)
    assert verdict.alive
    assert verdict.on_time
    assert verdict.declared_hz == 2


def test_this_machine_has_a_boot_id() -> None:
    assert len(boot_id()) in (0, 36)
    assert boot_id() == boot_id()
