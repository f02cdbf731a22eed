"""A real Ray cluster of two nodes on the loopback, as a process: ``python -m tests.archive.cluster``.

Prints the address and the process of each raylet; it ends, and with it all that it started, when standard input does.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from tests.waiting import wait_for

ROOT = Path(__file__).resolve().parents[2]
STORE_BYTES = 80 << 20  # as small as Ray takes it: nothing but orders and names of shards travels


class TwoNodes:
    """The cluster, seen from outside: its address, and its raylets to kill."""

    def __init__(self, process: subprocess.Popen[str], told: dict[str, Any]) -> None:
        self.process, self.address = process, str(told["address"])
        self.raylets: list[int] = list(told["raylets"])

    def processes(self) -> list[psutil.Process]:
        """Everything that runs for it, actors and their workers too."""
        with suppress(psutil.NoSuchProcess):
            return psutil.Process(self.process.pid).children(recursive=True)
        return []

    def named(self, part: str) -> list[psutil.Process]:
        """Those whose command line holds a text."""

        def holds(process: psutil.Process) -> bool:
            with suppress(psutil.Error):
                return part in " ".join(process.cmdline())
            return False

        return [process for process in self.processes() if holds(process)]


@contextmanager
def two_nodes() -> Iterator[TwoNodes]:
    """A cluster of two nodes with one core each, and nothing left of it afterwards."""
    # Not below pytest's folder: names of sockets are at most 107 bytes.
    folder = Path(tempfile.mkdtemp(prefix="ray-"))
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "RAY_USAGE_STATS_ENABLED": "0", "RAY_TMPDIR": str(folder)}
    log = (folder / "started.log").open("wb")
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.archive.cluster"],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
    )
    cluster: TwoNodes | None = None
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, (folder / "started.log").read_text()[-2000:]
        cluster = TwoNodes(process, json.loads(line))
        yield cluster
    finally:
        started = cluster.processes() if cluster else []
        log.close()
        assert process.stdin is not None
        process.stdin.close()
        process.kill()
        for one in started:
            with suppress(psutil.NoSuchProcess):
                one.kill()
        process.wait()
        wait_for(lambda: not any(alive(one) for one in started))
        shutil.rmtree(folder, ignore_errors=True)


def alive(process: psutil.Process) -> bool:
    """Whether a process runs; one that is dead and not yet buried does not."""
    with suppress(psutil.NoSuchProcess):
        return process.status() != psutil.STATUS_ZOMBIE
    return False


def main() -> None:
    """Start it, say where, wait for the end."""
    from ray.cluster_utils import Cluster

    node: dict[str, Any] = {
        "num_cpus": 1,
        "object_store_memory": STORE_BYTES,
        "include_dashboard": False,
        "node_ip_address": "127.0.0.1",
    }
    cluster = Cluster(initialize_head=True, head_node_args=node)
    second = cluster.add_node(**node)
    raylets = [each.all_processes["raylet"][0].process.pid for each in (cluster.head_node, second)]
    print(json.dumps({"address": cluster.address, "raylets": raylets}), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
