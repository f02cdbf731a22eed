from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from stream.window.scheduler import Scheduler


def test_without_a_budget_or_a_measurement_everyone_is_sampled() -> None:
    faces = ["a", "b", "c"]
    assert Scheduler(None).choose(faces) == faces
    assert Scheduler(10.0).choose(faces) == faces


@given(st.integers(1, 12), st.integers(1, 12), st.integers(20, 100))
def test_turns_are_fair(faces: int, room: int, rounds: int) -> None:
    scheduler = Scheduler(float(room))
    scheduler.spent(1, 1.0)
    names = [f"f{i}" for i in range(faces)]
    count: Counter[str] = Counter()
    for _ in range(rounds):
        chosen = scheduler.choose(names)
        assert len(chosen) == min(room, faces)
        count.update(chosen)
    assert max(count.values()) - min(count[name] for name in names) <= 1


def test_the_primary_face_is_always_sampled_and_nobody_starves() -> None:
    scheduler = Scheduler(2.0)
    scheduler.spent(1, 1.0)
    names = [f"f{i}" for i in range(6)]
    seen: Counter[str] = Counter()
    for _ in range(50):
        chosen = scheduler.choose(names, primary="f3")
        assert "f3" in chosen
        seen.update(chosen)
    assert min(seen[name] for name in names) >= 9


def test_what_cost_nothing_leaves_room_for_all_and_what_encoded_nobody_says_nothing() -> None:
    scheduler = Scheduler(10.0)
    scheduler.spent(0, 50.0)
    assert scheduler.room() is None
    scheduler.spent(1, 0.0)
    assert scheduler.room() == 10_000
    usual = Scheduler(100.0)
    usual.spent(1, 10.0)
    usual.spent(1, 20.0)
    assert usual.room() == 8  # a fifth of the way from 10 to 20
    steady = Scheduler(10.0, smoothing=0.5)
    steady.spent(1, 2.0)
    steady.spent(2, 8.0)
    assert steady.room() == 3  # 3 ms each: half way from 2 to 4


def test_a_cheaper_encoder_makes_room_again() -> None:
    scheduler = Scheduler(10.0)
    scheduler.spent(2, 40.0)
    assert scheduler.room() == 1
    for _ in range(40):
        scheduler.spent(1, 1.0)
    room = scheduler.room()
    assert room is not None
    assert room >= 8
