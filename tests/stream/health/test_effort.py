"""Less work when there is too little time, by a simulated clock and a simulated machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from stream.health.effort import BUSY, EFFORTS, IDLE, PERIOD_NS, BusyMeter, EffortPolicy
from stream.health.throttle import Throttle
from stream.window.scheduler import Scheduler

S = 1_000_000_000
WORK = (1.0, 0.65, 0.5, 0.4)
"""What a frame costs at each level, of its cost at the first."""


class Machine:
    """A loop that does `load` of work a second, where `speed` can be done; both change as a test says."""

    def __init__(self) -> None:
        self.policy, self.now_ns = EffortPolicy(), 0
        self.levels: list[int] = []

    def run(self, seconds: float, load: float, speed: float = 1.0) -> None:
        for _ in range(round(seconds * S / PERIOD_NS)):
            self.now_ns += PERIOD_NS
            self.policy.step(self.now_ns, min(1.0, load * WORK[self.policy.level] / speed))
            self.levels.append(self.policy.level)


def test_with_room_everything_is_done() -> None:
    machine = Machine()
    machine.run(600, load=0.85)
    assert set(machine.levels) == {0}


@pytest.mark.parametrize(("load", "speed"), [(1.3, 1.0), (0.5, 0.4), (0.25, 0.2)])
def test_a_crowd_heat_or_a_quota_costs_work_within_a_second_and_it_comes_back(load: float, speed: float) -> None:
    machine = Machine()
    machine.run(30, load=0.2)
    machine.run(1, load, speed)
    assert machine.policy.level >= 1
    machine.run(60, load, speed)
    # At the level that is kept the frames are done in time: the promised rate.
    assert load * WORK[machine.policy.level] / speed <= BUSY
    machine.run(20, load=0.2)
    assert machine.policy.level == 0


def test_more_than_can_be_left_out_stays_at_the_least() -> None:
    machine = Machine()
    machine.run(60, load=5)
    assert machine.policy.level == len(EFFORTS) - 1


def test_work_that_fits_by_a_hair_does_not_swing() -> None:
    # Fits at the first level alone, and looks like room for twice the work there.
    policy, now_ns, changes = EffortPolicy(), 0, 0
    for _ in range(round(600 * S / PERIOD_NS)):
        now_ns += PERIOD_NS
        changes += policy.step(now_ns, 0.95 if policy.level == 0 else IDLE - 0.01)
    # Patience doubles up to a minute: twice a change in each.
    assert changes <= 2 * 600 / 60 + 12


def test_after_a_calm_time_patience_is_what_it_was() -> None:
    machine = Machine()
    for _ in range(6):
        machine.run(4, load=1.2)
        machine.run(4, load=0.2)
    machine.run(120, load=0.2)
    machine.run(1, load=1.2)
    assert machine.policy.level == 1
    machine.run(4, load=0.2)
    assert machine.policy.level == 0


def test_the_meter_gives_the_share_of_each_period() -> None:
    meter = BusyMeter(0)
    said = [meter.spent(at, at + 30_000_000) for at in range(0, 2 * S, 100_000_000)]
    shares = [share for share in said if share is not None]
    assert len(said) > 3 * len(shares) >= 9
    assert all(0.25 <= share <= 0.36 for share in shares)


def test_with_less_effort_the_primary_face_is_sampled_and_nobody_starves() -> None:
    scheduler = Scheduler(None)
    least = EFFORTS[2]
    scheduler.share, scheduler.ticks = least.share, least.ticks
    faces = [f"f{index}" for index in range(20)]
    turns = dict.fromkeys(faces, 0)
    for tick in range(80):
        assert scheduler.samples(tick)
        for face in scheduler.choose(faces, "f7"):
            turns[face] += 1
    # Four at a tick: the primary one, and three of the nineteen others in turn.
    assert turns.pop("f7") == 80
    assert set(turns.values()) <= {80 * 3 // 19, 80 * 3 // 19 + 1}
    assert scheduler.choose(["alone"], "alone") == ["alone"]
    assert [EFFORTS[-1].ticks, sum(each.ticks for each in EFFORTS[:-1])] == [2, 3]


def test_why_there_is_too_little_is_read_from_the_system(tmp_path: Path) -> None:
    def write(name: str, text: str) -> None:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    write("own", "0::/system.slice/dfer.service\n")
    stat = "groups/system.slice/dfer.service/cpu.stat"
    write(stat, "usage_usec 5\nnr_periods 9\nnr_throttled 3\nthrottled_usec 7\n")
    write("thermal/cooling_device0/type", "Processor\n")
    write("thermal/cooling_device0/cur_state", "0\n")
    write("thermal/cooling_device1/type", "Fan\n")
    write("thermal/cooling_device1/cur_state", "2\n")
    throttle = Throttle(tmp_path / "thermal", tmp_path / "groups", tmp_path / "own")
    assert throttle.cause() == "load"
    write(stat, "nr_throttled 4\n")
    assert [throttle.cause(), throttle.cause()] == ["quota", "load"]
    write("thermal/cooling_device0/cur_state", "3\n")
    assert throttle.cause() == "thermal"
    assert Throttle(tmp_path / "none", tmp_path / "none", tmp_path / "none").cause() == "load"
