"""How many cameras a core carries: python -m tests.scenes.cameras_a_core 1 2 4 8

For each count, that many daemons play the demo clip (640×480, 30 fps, one face) in a loop, as cameras would, beside one
`bridge prometheus`. CPU seconds are of the processes, children too, between two moments, so other load shifts them less
than any wall time; memory is PSS, which shares among processes what they share.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import psutil

from stream.publish.message import Status
from stream.subscribe.client import Client

WARM_S, FPS = 6.0, 30.0


def cpu_s(process: psutil.Process) -> float:
    total = 0.0
    for one in (process, *process.children(recursive=True)):
        times = one.cpu_times()
        total += times.user + times.system
    return total


def pss_mb(process: psutil.Process) -> float:
    return sum(one.memory_full_info().pss for one in (process, *process.children(recursive=True))) / 1e6


def counted(endpoints: list[str]) -> tuple[int, int]:
    """Published messages and dropped frames so far, of all."""
    published = dropped = 0
    for uri in endpoints:
        with Client(uri, "status") as client:
            status = client.receive(30.0)
        assert isinstance(status, Status)
        published, dropped = published + status.published_total, dropped + status.dropped_total
    return published, dropped


def start(folder: str, endpoints: list[str], more: list[str]) -> list[subprocess.Popen[bytes]]:
    """The daemons, and a bridge that hears all of them."""
    program = [sys.executable, "-m", "stream.cli"]
    play = ["run", "--source", "demo://", "--camera.loop", "--quiet"]
    commands = [[*play, "--source-name", Path(uri).stem, "--bind", uri, *more] for uri in endpoints]
    commands.append(["bridge", "prometheus", "--directory", folder, "--port", "0"])
    return [
        subprocess.Popen([*program, *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for command in commands
    ]


def measure(count: int, seconds: float, more: list[str]) -> str:
    """One row of the table."""
    pause = threading.Event()
    with tempfile.TemporaryDirectory() as folder:
        endpoints = [f"ipc://{folder}/cam{i}.ipc" for i in range(count)]
        children = start(folder, endpoints, more)
        try:
            for uri in endpoints:  # all of them publish before anything counts
                with Client(uri, "faces") as client:
                    assert client.receive(120.0) is not None
            pause.wait(WARM_S)
            processes = [psutil.Process(child.pid) for child in children]
            first = counted(endpoints)
            before = [cpu_s(one) for one in processes]
            pause.wait(seconds)
            spent = [after - then for after, then in zip(map(cpu_s, processes), before, strict=True)]
            messages, lost = (now - then for now, then in zip(counted(endpoints), first, strict=True))
            memory = sum(pss_mb(one) for one in processes[:-1]) / count
        finally:
            for child in children:
                child.terminate()
            for child in children:
                child.wait(60)
    each_ms, bridge_ms = 1e3 * sum(spent[:-1]) / messages, 1e3 * spent[-1] / messages
    return (
        f"| {count} | {each_ms:.2f} | {1e3 / FPS / each_ms:.1f} | {messages / seconds / count:.1f} | {lost} "
        f"| {memory:.0f} | {bridge_ms:.2f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("counts", nargs="*", type=int, default=[1, 2, 4])
    parser.add_argument("--seconds", type=float, default=20.0)
    args, more = parser.parse_known_args()
    print("| cameras | CPU ms a message | cameras a core | messages/s | dropped | MB each | bridge, CPU ms a message |")
    print("|---|---|---|---|---|---|---|")
    for count in args.counts:
        print(measure(count, args.seconds, more), flush=True)


if __name__ == "__main__":
    main()
