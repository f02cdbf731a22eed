"""A cluster of many nodes, as a discrete-event simulation: ``python -m tests.archive.simulate``.

Times are measured (``python -m tests.archive`` prints them): what a clip costs a core, what an order and a shard cost
the driver, which is one process. So it shows where that one process is the limit.
"""

from __future__ import annotations

import argparse
import heapq
import random
from dataclasses import dataclass

ITEMS_PER_SHARD = 64
AHEAD = 2


@dataclass(frozen=True)
class Measured:
    """What was measured.

    Attributes:
        clip_s: Mean time of a clip on a core, s.
        spread: Standard deviation of a clip's time, over its mean.
        order_s: Of the driver, for an order and its answer, s.
        shard_s: Of the driver, for putting a shard in place, s.
    """

    clip_s: float
    spread: float
    order_s: float
    shard_s: float


@dataclass(frozen=True)
class Result:
    """What came of a run.

    Attributes:
        took_s: Time of it, s.
        busy: Share of it that an actor worked, mean over all.
        driver: Share of it that the driver worked.
    """

    took_s: float
    busy: float
    driver: float


def simulate(actors: int, clips: int, measured: Measured, seed: int = 1) -> Result:
    """Score clips on actors that one driver feeds as the product's does: two orders each, in the end one."""
    chance = random.Random(seed)
    waiting, driver_free, driver_work, worked, left = clips, 0.0, 0.0, 0.0, clips
    free_at, held, kept = [0.0] * actors, [0] * actors, [0] * actors
    answers: list[tuple[float, int]] = []

    def give(actor: int, now: float) -> None:
        nonlocal waiting, worked
        ahead = AHEAD if waiting > AHEAD * actors else 1
        while waiting and held[actor] < ahead:
            waiting -= 1
            held[actor] += 1
            took = measured.clip_s * max(chance.gauss(1.0, measured.spread), 0.2)
            free_at[actor] = max(free_at[actor], now) + took
            worked += took
            heapq.heappush(answers, (free_at[actor], actor))

    def drive(seconds: float, now: float) -> float:
        nonlocal driver_free, driver_work
        driver_free = max(driver_free, now) + seconds
        driver_work += seconds
        return driver_free

    for actor in range(actors):
        give(actor, drive(measured.order_s, 0.0))
    end = 0.0
    while left:
        now, actor = heapq.heappop(answers)
        held[actor] -= 1
        kept[actor] += 1
        left -= 1
        now = drive(measured.order_s, now)
        if kept[actor] == ITEMS_PER_SHARD or (not waiting and not held[actor]):
            kept[actor] = 0
            now = drive(measured.shard_s, now)
        give(actor, now)
        end = max(end, now)
    return Result(end, worked / (end * actors), driver_work / end)


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description="a cluster of many nodes, simulated")
    parser.add_argument("--clip-s", type=float, default=0.21)
    parser.add_argument("--spread", type=float, default=0.2)
    parser.add_argument("--order-ms", type=float, default=0.35)
    parser.add_argument("--shard-ms", type=float, default=2.0)
    parser.add_argument("--cores", type=int, default=16, help="of a node")
    parser.add_argument("--clips", type=int, default=100_000)
    args = parser.parse_args()
    measured = Measured(args.clip_s, args.spread, args.order_ms / 1e3, args.shard_ms / 1e3)
    print(f"{'nodes':>6} {'cores':>6} {'clips/s':>8} {'actors busy':>12} {'driver busy':>12}")
    for nodes in (1, 2, 5, 10, 20, 50, 100):
        done = simulate(nodes * args.cores, args.clips, measured)
        rate = args.clips / done.took_s
        print(f"{nodes:6} {nodes * args.cores:6} {rate:8.1f} {done.busy:12.0%} {done.driver:12.0%}")


if __name__ == "__main__":
    main()
