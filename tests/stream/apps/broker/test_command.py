from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zmq

from stream.publish import keys
from stream.publish.publisher import Publisher
from tests.waiting import wait_for

ROOT = Path(__file__).resolve().parents[4]
Broker = Callable[..., "tuple[str, subprocess.Popen[str]]"]


@pytest.fixture
def broker() -> Iterator[Broker]:
    started: list[subprocess.Popen[str]] = []

    def start(*args: object) -> tuple[str, subprocess.Popen[str]]:
        command = [sys.executable, "-m", "stream.cli", "broker", *map(str, args)]
        environ = {**os.environ, "PYTHONPATH": str(ROOT)}
        started.append(subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environ))
        stderr = started[-1].stderr
        assert stderr is not None
        line = stderr.readline()
        return line.partition("publishing on ")[2].strip() or line, started[-1]

    yield start
    for child in started:
        child.kill()
        child.communicate()


@pytest.fixture
def context() -> Iterator[zmq.Context[zmq.Socket[bytes]]]:
    made: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    yield made
    made.destroy(linger=0)


def subscriber(context: zmq.Context[zmq.Socket[bytes]], uri: str, *topics: bytes) -> zmq.Socket[bytes]:
    made = context.socket(zmq.SUB)
    made.setsockopt(zmq.RCVTIMEO, 60_000)
    for topic in topics:
        made.subscribe(topic)
    made.connect(uri)
    return made


def test_several_daemons_are_heard_at_one_endpoint_and_a_late_subscriber_gets_each_status(
    tmp_path: Path, broker: Broker, context: zmq.Context[zmq.Socket[bytes]]
) -> None:
    with Publisher("cam0", f"ipc://{tmp_path}/0.ipc") as first, Publisher("cam1", f"ipc://{tmp_path}/1.ipc") as second:
        uri, child = broker(first.endpoint, second.endpoint, "--bind", "tcp://127.0.0.1:*")
        wait_for(lambda: (first.serve(), first.counts.subscriptions)[1] >= 3)
        wait_for(lambda: (second.serve(), second.counts.subscriptions)[1] >= 3)
        early = subscriber(context, uri, b"status/")
        for publisher in (first, second):
            wait_for(lambda p=publisher: p.status(p.source.encode()) and bool(early.poll(20)))  # type: ignore[misc]
            early.recv()
        while early.poll(200):
            early.recv()
        late = subscriber(context, uri, b"status/")
        assert {late.recv(), late.recv()} == {b"status/cam0 cam0", b"status/cam1 cam1"}
        every = subscriber(context, uri, b"faces/")

        def both() -> bool:
            first.faces(b"0")
            second.faces(b"1")
            while every.poll(20):
                heard.add(every.recv())
            return heard == {b"faces/cam0 0", b"faces/cam1 1"}

        heard: set[bytes] = set()
        wait_for(both)
        child.terminate()
        _, err = child.communicate(timeout=60)
        assert child.returncode == 0, err
        assert "messages passed on, 0 held back" in err


def test_keys_hold_on_both_sides(tmp_path: Path, broker: Broker, context: zmq.Context[zmq.Socket[bytes]]) -> None:
    pairs = {name: keys.generate(tmp_path / name, name) for name in ("cam0", "broker", "robot", "stranger")}
    for side, name in (("up", "broker"), ("down", "robot")):
        (tmp_path / side).mkdir()
        (tmp_path / side / f"{name}.key").write_bytes(pairs[name].public.read_bytes())

    def client(name: str, uri: str) -> zmq.Socket[bytes]:
        made, pair = context.socket(zmq.SUB), keys.load_pair(pairs[name].secret)
        made.curve_serverkey = keys.load_public(pairs["broker"].public)
        made.curve_publickey, made.curve_secretkey = pair.public, pair.secret
        made.subscribe(b"")
        made.connect(uri)
        return made

    with Publisher("cam0", "tcp://127.0.0.1:*", pairs["cam0"].secret, tmp_path / "up") as publisher:
        both = ["--secret-key", pairs["broker"].secret, "--allowed-keys", tmp_path / "down"]
        towards = ["--key", pairs["broker"].secret, "--server-key", pairs["cam0"].public]
        uri, _ = broker(publisher.endpoint, "--bind", "tcp://0.0.0.0:*", *both, *towards)
        uri = uri.replace("0.0.0.0", "127.0.0.1")
        robot, stranger = client("robot", uri), client("stranger", uri)
        wait_for(lambda: publisher.faces(b"{}") and bool(robot.poll(20)))
        assert robot.recv() == b"faces/cam0 {}"
        assert stranger.poll(100) == 0


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--bind", "tcp://0.0.0.0:*"], "needs keys"),
        (["--bind", "tcp://127.0.0.1:*", "--key", "x"], "--key needs the daemons' public key"),
        (["--bind", "tcp://127.0.0.1:*", "--server-key", "x", "--server-key", "y"], "2 --server-key for 1 upstreams"),
    ],
)
def test_what_would_let_anyone_in_is_refused(broker: Broker, args: list[str], words: str) -> None:
    line, child = broker("tcp://127.0.0.1:1", *args)
    assert words in line
    assert child.wait(60) == 2
