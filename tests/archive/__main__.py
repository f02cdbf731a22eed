"""The archive at length: ``python -m tests.archive --clips 2000 --seeds 10`` (``make archive``).

Scores generated clips by one process, by ``--jobs 2`` and on a real cluster of two nodes, by turns; then kills a
worker, an actor, a raylet or the driver of cluster runs at random moments, resumes, and compares every row with those
of the single process.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.archive.clips import make_clips
from tests.archive.cluster import ROOT, TwoNodes, alive, two_nodes
from tests.archive.rows import same_rows
from tests.waiting import wait_for

VICTIMS = ("worker", "actor", "raylet", "driver", "head")


@dataclass
class Cost:
    """What a run took.

    Attributes:
        wall_s: From start to end.
        cpu_s: User and system time of all its processes.
        peak_mb: Most resident memory that all had together, MB.
        driver_s: Processor time of the command's own process.
    """

    wall_s: float = 0.0
    cpu_s: float = 0.0
    peak_mb: float = 0.0
    driver_s: float = 0.0


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """The command as a user starts it."""
    return subprocess.Popen(
        [sys.executable, "-m", "stream.cli", "score", str(folder / "clips"), "--threads", "1", "--quiet", *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def measure(process: subprocess.Popen[str], others: Callable[[], list[psutil.Process]]) -> Cost:
    """Wait for a run and say what it took, with what others do for it."""
    began, cost, stop = time.monotonic(), Cost(), threading.Event()
    spent: dict[int, float] = {}
    first = {one.pid: sum(one.cpu_times()[:2]) for one in others()}

    def watch() -> None:
        while not stop.wait(0.25):
            total = 0
            with suppress(psutil.Error):
                own = psutil.Process(process.pid)
                for one in [own, *own.children(recursive=True), *others()]:
                    with suppress(psutil.Error):
                        total += one.memory_info().rss
                        spent[one.pid] = sum(one.cpu_times()[:2]) - first.get(one.pid, 0.0)
                cost.peak_mb = max(cost.peak_mb, total / 1e6)

    watching = threading.Thread(target=watch)
    watching.start()
    said, _ = process.communicate()
    stop.set()
    watching.join()
    assert process.returncode == 0, said
    cost.wall_s, cost.cpu_s, cost.driver_s = time.monotonic() - began, sum(spent.values()), spent.get(process.pid, 0.0)
    return cost


def kill(victim: str, cluster: TwoNodes, driver: subprocess.Popen[str]) -> None:
    """End one of the run's processes at once."""
    if victim == "driver":
        driver.kill()
    elif victim == "raylet":
        psutil.Process(cluster.raylets[1]).kill()
    elif victim == "head":
        psutil.Process(cluster.raylets[0]).kill()
    else:
        found = cluster.named("stream.offline.worker" if victim == "worker" else "ScoreStation")
        if found:
            random.choice(found).kill()


def survive(folder: Path, seed: int, span_s: float) -> tuple[str, bool]:
    """Kill something at a random moment, resume, compare; gives what was killed and whether the rows are right."""
    chance = random.Random(seed)
    random.seed(seed)
    victim, out = VICTIMS[seed % len(VICTIMS)], folder / f"seed-{seed}"
    with two_nodes() as cluster:
        asked = ("--dataset", str(out), "--resume", "--ray", cluster.address)
        driver = start(folder, *asked)
        wait_for(lambda: driver.poll() is not None or len(cluster.named("stream.offline.worker")) == 2, 300)
        threading.Event().wait(chance.uniform(0, span_s))
        kill(victim, cluster, driver)
        driver.communicate()
        if victim not in ("head", "raylet"):
            wait_for(lambda: not any(alive(one) for one in cluster.named("ScoreStation")), 120)
            again = start(folder, *asked)
            said, _ = again.communicate()
            assert again.returncode == 0, said
    if victim in ("head", "raylet"):
        with two_nodes() as cluster:
            again = start(folder, "--dataset", str(out), "--resume", "--ray", cluster.address)
            said, _ = again.communicate()
            assert again.returncode == 0, said
    right = same_rows(out / "rows", folder / "whole.parquet")
    shutil.rmtree(out)
    return victim, right


def main() -> int:
    """Run everything, print what came of it; 1 where rows differ."""
    parser = argparse.ArgumentParser(description="the archive at length")
    parser.add_argument("--clips", type=int, default=2000)
    parser.add_argument("--frames", type=int, default=30, help="of a clip, at 15 a second")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--turns", type=int, default=2)
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="archive-"))
    right = True
    try:
        (folder / "clips").mkdir()
        make_clips(folder / "clips", args.clips, args.frames)
        whole = measure(start(folder, "--jobs", "1", "--out", str(folder / "whole.parquet")), list)
        print(f"one process: {whole.wall_s:.1f} s, {whole.cpu_s:.1f} s of CPU, {whole.peak_mb:.0f} MB", flush=True)
        with two_nodes() as cluster:

            def actors() -> list[psutil.Process]:
                return [*cluster.named("ScoreStation"), *cluster.named("stream.offline.worker")]

            for turn in range(args.turns):
                out = folder / f"turn-{turn}"
                kinds = {
                    "--jobs 2 to one file": (["--jobs", "2", "--out", str(out) + ".jsonl"], list),
                    "--jobs 2 --dataset": (["--jobs", "2", "--dataset", str(out) + "-pool"], list),
                    "--ray, two nodes": (["--dataset", str(out) + "-ray", "--ray", cluster.address], actors),
                    "--ray, one actor": (
                        ["--jobs", "1", "--dataset", str(out) + "-one", "--ray", cluster.address],
                        actors,
                    ),
                }
                for name, (flags, others) in kinds.items():
                    cost = measure(start(folder, *flags), others)
                    print(
                        f"{name:22} {cost.wall_s:7.1f} s  {args.clips / cost.wall_s:6.2f} clips/s  {cost.cpu_s:7.1f} s "
                        f"of CPU  {cost.peak_mb:6.0f} MB  driver {1e3 * cost.driver_s / args.clips:.1f} ms/clip",
                        flush=True,
                    )
                for name in ("pool", "ray", "one"):
                    same = same_rows(Path(f"{out}-{name}") / "rows", folder / "whole.parquet")
                    right &= same
                    print(f"rows of {name}: {'equal' if same else 'DIFFER'}", flush=True)
            own = sum(one.memory_info().rss for one in cluster.processes()) / 1e6
            print(f"the cluster itself: {own:.0f} MB", flush=True)
        for seed in range(args.seeds):
            victim, same = survive(folder, seed, whole.wall_s / 2)
            right &= same
            print(f"seed {seed}: killed {victim}; after resume rows are {'equal' if same else 'NOT EQUAL'}", flush=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
