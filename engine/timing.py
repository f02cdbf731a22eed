"""Wall time of a piece of work."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import numpy as np

Work = Callable[[], object]


def times_ms(work: Work, rounds: int, warm_up: int = 2) -> list[float]:
    """Wall times of some work.

    Args:
        work: What to time.
        rounds: Timed rounds.
        warm_up: Rounds before that.

    Returns:
        Milliseconds, one per timed round.
    """
    return in_turns({"": work}, rounds, warm_up)[""]


def in_turns(works: Mapping[str, Work], rounds: int, warm_up: int = 2) -> dict[str, list[float]]:
    """Wall times of several works that take turns, so that what else runs on the machine meets all alike.

    Args:
        works: What to time, by name.
        rounds: Timed rounds.
        warm_up: Rounds before that.

    Returns:
        Milliseconds by name, one per timed round.
    """
    times: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(warm_up + rounds):
        for name, work in works.items():
            started = time.perf_counter_ns()
            work()
            if turn >= warm_up:
                times[name].append((time.perf_counter_ns() - started) / 1e6)
    return times


def median_ms(work: Work, rounds: int, warm_up: int = 2) -> float:
    """Median of :func:`times_ms`."""
    return float(np.median(times_ms(work, rounds, warm_up)))


def best_ms(work: Work, rounds: int, warm_up: int = 2) -> float:
    """Smallest of :func:`times_ms`."""
    return min(times_ms(work, rounds, warm_up))
