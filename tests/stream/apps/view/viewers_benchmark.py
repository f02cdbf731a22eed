"""Twenty viewers of one page, one of them stopped and one on a slow line: ``python -m …viewers_benchmark [--json]``.

The daemon plays the built-in clip at 30 frames/s with pictures of 640 by 480. Phases come by turns, because the machine
is not quiet: nobody looks; five look; twenty look, of whom one is stopped (SIGSTOP) and one reads 200 kbit/s.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from urllib.parse import urlsplit

import aiohttp
import numpy as np
import psutil

from stream.publish.message import Faces
from stream.subscribe.client import Client
from tests.stream.apps.view.servers import ROOT, daemon, view

_SLOW_BYTES_PER_S = 200_000 / 8
_AGE = re.compile(r'"t_publish_ns":(\d+)')
_LATENCY = re.compile(r'"latency_ms":\{[^}]*"total":([\d.]+)')


@dataclass(frozen=True)
class Phase:
    """What one phase measured.

    Attributes:
        viewers: How many looked.
        daemon_hz: Messages per second that the daemon published.
        server_cores: CPU of the page's server, cores.
        age_p50_ms: Age of frames as they reach the healthy viewers, from the frame's arrival.
        age_p99_ms: Likewise.
        pictures_hz: Pictures per second and healthy viewer.
    """

    viewers: int
    daemon_hz: float
    server_cores: float
    age_p50_ms: float | None
    age_p99_ms: float | None
    pictures_hz: float | None


async def _look(feed: aiohttp.ClientWebSocketResponse, until_s: float, ages: list[float], pictures: list[int]) -> None:
    while (left := until_s - time.monotonic()) > 0:
        try:
            message = await feed.receive(left)
        except asyncio.TimeoutError:
            return
        now_ns = time.monotonic_ns()
        if message.type is aiohttp.WSMsgType.BINARY:
            pictures.append(1)
        elif message.type is aiohttp.WSMsgType.TEXT and message.data.startswith('{"type":"faces"'):
            sent, latency = _AGE.search(message.data), _LATENCY.search(message.data)
            if sent and latency:
                ages.append((now_ns - int(sent[1])) / 1e6 + float(latency[1]))


async def _watch(address: str, count: int, seconds: float) -> dict[str, object]:
    """`count` healthy viewers of one process; says when all of them look."""
    ages: list[float] = []
    pictures: list[int] = []
    async with aiohttp.ClientSession() as session:
        url = address.replace("http", "ws") + "feed"
        feeds = [await session.ws_connect(url, max_msg_size=0) for _ in range(count)]
        print("ready", flush=True)
        until_s = time.monotonic() + seconds
        await asyncio.gather(*(_look(feed, until_s, ages, pictures) for feed in feeds))
    return {"ages": ages, "pictures": len(pictures)}


def _slow(address: str) -> None:
    """One viewer whose line takes 200 kbit/s, until it is killed."""
    parts = urlsplit(address)
    with socket.socket() as line:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        line.connect((str(parts.hostname), parts.port))
        line.sendall(
            f"GET /feed HTTP/1.1\r\nHost: {parts.netloc}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode()
        )
        print("ready", flush=True)
        while line.recv(2500):
            time.sleep(2500 / _SLOW_BYTES_PER_S)


def _child(what: str, address: str, *more: str) -> subprocess.Popen[str]:
    module = "tests.stream.apps.view.viewers_benchmark"
    child = subprocess.Popen(
        [sys.executable, "-m", module, "--as", what, address, *more], cwd=ROOT, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert child.stdout is not None
    assert child.stdout.readline().strip() == "ready"
    return child


def measure(seconds: float = 20.0, rounds: int = 2) -> list[Phase]:
    """The phases, one after another, `rounds` times."""
    phases: list[Phase] = []
    with tempfile.TemporaryDirectory() as folder:
        endpoint = f"ipc://{folder}/cam0.ipc"
        with (
            daemon(endpoint, "--with-frames", "--publish.frames-hz", "30") as playing,
            view(endpoint) as (address, server),
        ):
            process = psutil.Process(server.pid)
            with Client(endpoint) as client:
                while not isinstance(client.receive(1.0), Faces):
                    assert playing.poll() is None, playing.stderr and playing.stderr.read()
                for count in (0, 5, 20) * rounds:
                    phases.append(_phase(client, process, address, count, seconds))
    return phases


def _phase(client: Client, process: psutil.Process, address: str, count: int, seconds: float) -> Phase:
    troubled = [_child("healthy", address, "1", str(10 * seconds)), _child("slow", address)] if count >= 20 else []
    healthy = _child("healthy", address, str(count - len(troubled)), str(seconds)) if count else None
    if troubled:
        troubled[0].send_signal(signal.SIGSTOP)
    while client.receive(0) is not None:
        pass
    before, start = process.cpu_times(), time.monotonic()
    first = last = None
    while time.monotonic() - start < seconds:
        message = client.receive(1.0)
        if isinstance(message, Faces):
            first, last = first or message, message
    after, wall = process.cpu_times(), time.monotonic() - start
    assert first is not None
    assert last is not None
    found: dict[str, Any] = json.loads(healthy.communicate()[0]) if healthy else {"ages": [], "pictures": 0}
    for child in troubled:
        child.kill()
        child.communicate()
    ages, well = found["ages"], max(count - len(troubled), 1)
    return Phase(
        viewers=count,
        daemon_hz=round((last.seq - first.seq) / ((last.t_publish_ns - first.t_publish_ns) / 1e9), 2),
        server_cores=round((after.user + after.system - before.user - before.system) / wall, 3),
        age_p50_ms=round(float(np.percentile(ages, 50)), 1) if ages else None,
        age_p99_ms=round(float(np.percentile(ages, 99)), 1) if ages else None,
        pictures_hz=round(found["pictures"] / seconds / well, 1) if count else None,
    )


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--as", dest="role", choices=("healthy", "slow"), help=argparse.SUPPRESS)
    parser.add_argument("more", nargs="*", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.role == "healthy":
        print(json.dumps(asyncio.run(_watch(given.more[0], int(given.more[1]), float(given.more[2])))))
        return 0
    if given.role == "slow":
        _slow(given.more[0])
        return 0
    for phase in measure(given.seconds, given.rounds):
        print(json.dumps(asdict(phase)) if given.json else phase, flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
