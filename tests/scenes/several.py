"""Four cameras in one process against four processes, and what the others notice of one whose capture is killed.

python -m tests.scenes.several cost [--rounds 3] [--seconds 20]
python -m tests.scenes.several kills [--kills 100]

Both play the built-in clip live. CPU is user and system time of all processes; `steady` leaves out starting.
On a machine that others use, wall time says little: figures by turns, as ratios.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np

from stream.publish.message import Faces
from stream.subscribe.client import Client

ROOT = Path(__file__).resolve().parents[2]
CAMERAS = 4
SHORT_S = 6.0


def start(folder: Path, name: str, cameras: int, seconds: float) -> subprocess.Popen[bytes]:
    """One daemon of so many cameras."""
    command = [sys.executable, "-m", "stream.cli", "run", "--quiet", "--seconds", str(seconds)]
    command += ["--bind", f"ipc://{folder}/{name}.ipc", "--stats", f"{folder}/{name}.json"]
    command += ["--source", "demo://"] * cameras
    return subprocess.Popen(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})


@dataclass(frozen=True)
class Cost:
    """Of one run: frames processed, CPU s, and MB at its end."""

    frames: int
    cpu_s: float
    memory_mb: float


def run(processes: int, seconds: float) -> Cost:
    """Four cameras, in so many processes."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        running = [start(folder, f"d{index}", CAMERAS // processes, seconds) for index in range(processes)]
        cpu_s, frames, memory_mb = 0.0, 0, 0.0
        for process in running:
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            cpu_s += usage.ru_utime + usage.ru_stime
        for index in range(processes):
            held = json.loads((folder / f"d{index}.json").read_text())
            statuses = held if isinstance(held, list) else [held]
            frames += sum(status["frames_total"] for status in statuses)
            memory_mb += statuses[0]["memory_mb"]
        return Cost(frames, cpu_s, memory_mb)


def cost(rounds: int, seconds: float) -> dict[str, float]:
    """Medians of the ratios, one process over four."""
    ratios: dict[str, list[float]] = {"steady": [], "with start": [], "memory": []}
    for _ in range(rounds):
        one, one_short, four, four_short = (run(n, s) for n in (1, CAMERAS) for s in (seconds, SHORT_S))
        steady = [
            (whole.frames - part.frames) / (whole.cpu_s - part.cpu_s)
            for whole, part in ((one, one_short), (four, four_short))
        ]
        ratios["steady"].append(steady[0] / steady[1])
        ratios["with start"].append(one.frames / one.cpu_s / (four.frames / four.cpu_s))
        ratios["memory"].append(one.memory_mb / four.memory_mb)
        print({"one": one, "four": four, "frames a CPU s, steady": steady}, flush=True)
    return {name: round(median(values), 3) for name, values in ratios.items()}


def kills(times: int) -> dict[str, float]:
    """How long the others' frames take from capture to publishing, ms, while one is killed, and in turns while not."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        process = start(folder, "k", CAMERAS, 36_000)
        latencies: dict[bool, list[float]] = {True: [], False: []}
        try:
            with Client(f"ipc://{folder}/k.ipc") as client:
                heard: set[str] = set()
                while len(heard) < CAMERAS:
                    heard |= {m.source for m in [client.receive(5)] if isinstance(m, Faces) and m.valid}
                done = 0
                while done < times:
                    for killing in (False, True):
                        for _ in range(min(10, times)):
                            killed_ns = 0
                            if killing:
                                os.kill(_children(process.pid)[-1], signal.SIGKILL)
                                # What was in hand may still come.
                                done, killed_ns = done + 1, time.monotonic_ns() + 100_000_000
                            listen(client, 0.7, latencies[killing], killed_ns)
        finally:
            process.terminate()
            process.wait()
    p99 = {killing: float(np.percentile(values, 99)) for killing, values in latencies.items()}
    return {
        "quiet_p99_ms": round(p99[False], 2),
        "killed_p99_ms": round(p99[True], 2),
        "ratio": round(p99[True] / p99[False], 3),
    }


def _children(pid: int) -> Sequence[int]:
    """Its capture processes; the newest, which replaced the one killed before, last."""
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def listen(client: Client, seconds: float, latencies: list[float], after_ns: int = 0) -> None:
    """Take the latencies of all but the last source for a while, and until that one shows a frame after `after_ns`."""
    deadline = time.monotonic() + seconds
    back = after_ns == 0
    while not back or time.monotonic() < deadline:
        message = client.receive(max(0.05, deadline - time.monotonic()))
        if not isinstance(message, Faces) or not message.valid:
            continue
        if message.source != f"cam{CAMERAS - 1}":
            latencies.append(message.latency_ms.total or 0.0)
        elif message.t_publish_ns > after_ns:
            back = True


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.scenes.several", description=__doc__)
    commands = parser.add_subparsers(dest="what", required=True)
    costs = commands.add_parser("cost")
    costs.add_argument("--rounds", type=int, default=3)
    costs.add_argument("--seconds", type=float, default=20)
    killing = commands.add_parser("kills")
    killing.add_argument("--kills", type=int, default=100)
    options = parser.parse_args()
    print(json.dumps(cost(options.rounds, options.seconds) if options.what == "cost" else kills(options.kills)))


if __name__ == "__main__":
    main()
