from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.publish.limits import Allowance, Seats


@given(st.lists(st.tuples(st.floats(0, 50), st.integers(0, 10**9)), max_size=60))
def test_an_allowance_never_gives_more_than_its_burst_and_its_rate(steps: list[tuple[float, int]]) -> None:
    allowance, now_ns, given_out = Allowance(20.0, 4.0, 0), 0, 0.0
    for amount, passed_ns in steps:
        now_ns += passed_ns
        given_out += amount if allowance.take(amount, now_ns) else 0.0
        assert given_out <= 20.0 + 4.0 * now_ns / 1e9 + 1e-6
        assert 0 <= allowance.left <= 20.0


def test_an_allowance_that_refused_took_nothing() -> None:
    allowance = Allowance(10.0, 1.0, 0)
    assert not allowance.take(11, 0)
    assert allowance.take(10, 0)
    assert not allowance.take(1, 900_000_000)
    assert allowance.take(1, 1_000_000_000)


def test_one_origin_never_takes_every_seat() -> None:
    seats = Seats(8)
    assert [seats.take("a") for _ in range(9)] == [True] * 6 + [False] * 3
    assert [seats.take("b") for _ in range(3)] == [True, True, False]
    assert seats.taken == 8
    seats.leave("a")
    assert seats.take("b")
    assert not seats.take("a")


def test_a_single_seat_can_be_taken() -> None:
    assert Seats(1).take("a")


AFFORDABLE = """
import os, resource, sys
from stream.publish.limits import affordable
soft, hard, wanted = map(int, sys.argv[1:])
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
given = affordable(wanted)
print(given, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - len(os.listdir("/proc/self/fd")) - 3 * given)
"""


@pytest.mark.parametrize(
    ("soft", "hard", "seats", "left"),
    [
        (1024, 1024, 64, 512),  # enough
        (64, 1024, 64, 120),  # the soft limit is raised
        (256, 256, 40, 120),  # the hard one cannot be: fewer seats
        (64, 64, 1, None),  # hopeless, but a publisher without any subscriber is none
    ],
)
def test_no_subscriber_gets_a_descriptor_of_the_reserve(soft: int, hard: int, seats: int, left: int | None) -> None:
    command = [sys.executable, "-c", AFFORDABLE, str(soft), str(hard), "64"]
    given, spare = map(int, subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())
    assert given == seats if soft != 256 else 30 <= given <= 42
    assert left is None or spare >= left
