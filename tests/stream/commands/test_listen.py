from __future__ import annotations

import io
import json
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
from msgspec.structs import replace

from stream.cli import main
from stream.commands.listen import describe
from stream.publish.endpoint import EndpointError
from stream.publish.message import Event, Faces, Status
from stream.publish.publisher import Publisher
from stream.publish.wire import encode
from stream.subscribe.client import Client
from tests.subscribers.feed import faces, status

Feed = Callable[..., tuple[str, "subprocess.Popen[str]"]]
DEADLINE_S = 30.0


def run(*argv: str) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = main(["listen", *argv])
    return code, out.getvalue(), err.getvalue()


@pytest.mark.parametrize("bind", ["tcp://127.0.0.1:*", "ipc"])
def test_json_lines_are_the_bodies_of_another_process(tmp_path: Path, feed: Feed, bind: str) -> None:
    endpoint, _ = feed(f"ipc://{tmp_path}/a.ipc" if bind == "ipc" else bind)
    code, out, err = run(endpoint, "--json", "--count", "100", "--seconds", "30")
    assert (code, err) == (0, "")
    bodies = [json.loads(line) for line in out.splitlines()]
    seqs = [body["seq"] for body in bodies]
    assert len(seqs) == 100
    assert seqs == list(range(seqs[0], seqs[0] + 100))
    assert {body["source"] for body in bodies} == {"cam1"}


def test_people_see_faces_states_and_a_verdict(tmp_path: Path, feed: Feed) -> None:
    endpoint, _ = feed(f"ipc://{tmp_path}/a.ipc")
    code, out, err = run(endpoint, "--count", "90", "--seconds", "30")
    assert code == 0
    assert "cam1  frame " in out
    assert "f1 * tracked  happiness" in out
    assert "unsure" in out
    assert "warming 3/16" in out
    assert "not valid: stalled" in out
    assert "-- 90 messages; alive" in err


def test_a_status_says_why_there_is_no_camera() -> None:
    away = replace(status("cam0", "s", 1, 30.0), camera="no_camera", note="/dev/video9 is not there")
    line = describe(away)
    assert "camera no_camera" in line
    assert "/dev/video9 is not there" in line
    assert "note" not in describe(replace(away, note=None))


@pytest.mark.parametrize("topic", ["status", "event"])
def test_other_topics(tmp_path: Path, feed: Feed, topic: str) -> None:
    endpoint, _ = feed(f"ipc://{tmp_path}/a.ipc")
    code, out, err = run(endpoint, "--topic", topic, "--count", "1", "--seconds", "30")
    assert code == 0
    assert ("camera ok" if topic == "status" else "face_new  f1") in out
    # Events come when something happens: there is no pace to judge them by.
    assert err.strip().startswith("-- 1 message; alive" if topic == "status" else "-- 1 message")
    assert (";" in err) == (topic == "status")


@pytest.mark.parametrize(("declared", "judged"), [(0.1, 0.1), (None, 1.0)], ids=["every 10 s", "an older publisher"])
def test_health_is_judged_by_its_own_rate(tmp_path: Path, declared: float | None, judged: float) -> None:
    endpoint = f"ipc://{tmp_path}/slow.ipc"
    with Publisher("cam0", endpoint) as publisher, Client(endpoint, "status") as client:
        published_ns = time.monotonic_ns() - int(12e9)
        message = replace(status("cam0", "s", 1, 30.0), rate_hz=declared, t_publish_ns=published_ns)
        deadline_ns = time.monotonic_ns() + int(DEADLINE_S * 1e9)
        publisher.status(encode(message))
        while client.receive(0.05) is None and time.monotonic_ns() < deadline_ns:
            publisher.serve()
        verdict = client.freshness("cam0")
    assert verdict.declared_hz == judged
    # Twelve seconds are little at one message in ten seconds, and much at one a second.
    assert verdict.alive == (declared is not None)


def test_silence_is_explained(tmp_path: Path) -> None:
    code, out, err = run(f"ipc://{tmp_path}/none.ipc", "--seconds", "0.2")
    assert (code, out) == (1, "")
    assert "nothing heard on ipc://" in err
    assert "Is `dfer-stream run` running" in err


def test_an_endpoint_or_key_that_will_not_do_is_one_line(tmp_path: Path) -> None:
    for argv in (
        ("nonsense",),
        ("tcp://127.0.0.1:1", "--key", str(tmp_path / "x.key_secret")),
        ("tcp://127.0.0.1:1", "--key", str(tmp_path / "x.key_secret"), "--server-key", str(tmp_path / "y.key")),
    ):
        code, out, err = run(*argv)
        assert (code, out) == (2, "")
        assert err.startswith("dfer-stream listen: ")
        assert err.count("\n") == 1


def test_a_pipe_that_closes_early_ends_it_quietly(tmp_path: Path, feed: Feed) -> None:
    endpoint, _ = feed(f"ipc://{tmp_path}/a.ipc")
    with subprocess.Popen(
        [sys.executable, "-m", "stream.cli", "listen", endpoint, "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        assert child.stdout.readline().startswith(b"{")
        child.stdout.close()
        assert child.wait(DEADLINE_S) == 0
        assert child.stderr.read() == b""


def test_the_client_knows_a_source_that_died(tmp_path: Path, feed: Feed) -> None:
    endpoint, publisher = feed(f"ipc://{tmp_path}/a.ipc", "cam1", 50)
    with Client(endpoint, source="cam1") as client:
        for message in client:
            assert isinstance(message, Faces)
            verdict = client.freshness("cam1")
            if message.seq > 100 and verdict.on_time:
                break
        assert verdict.alive
        publisher.kill()
        deadline = time.monotonic() + DEADLINE_S
        while client.freshness().alive:
            client.receive(0.05)
            assert time.monotonic() < deadline
        assert client.freshness().age_ms is not None


def test_the_client_types_its_messages_and_passes_over_what_it_does_not_know(tmp_path: Path, feed: Feed) -> None:
    endpoint, _ = feed(f"ipc://{tmp_path}/a.ipc")
    with Client(endpoint, "status") as statuses, Client(endpoint, "event") as events:
        assert isinstance(statuses.receive(DEADLINE_S), Status)
        assert isinstance(events.receive(DEADLINE_S), Event)
    with Publisher("cam1", f"ipc://{tmp_path}/b.ipc") as publisher, Client(publisher.endpoint) as client:
        deadline = time.monotonic() + DEADLINE_S
        while client.bad == 0:
            publisher.faces(b'{"schema":"dfer.faces/2.0"}')
            assert client.receive(0.05) is None
            assert time.monotonic() < deadline


def test_the_newest_message_is_kept_for_a_slow_reader(tmp_path: Path) -> None:
    deadline = time.monotonic() + DEADLINE_S
    with Publisher("cam1", f"ipc://{tmp_path}/a.ipc") as publisher:
        endpoint = publisher.endpoint
        with Client(endpoint) as quick, Client(endpoint, newest=True) as slow:
            while publisher.counts.subscriptions < 2:
                publisher.serve()
                assert time.monotonic() < deadline
            # While nobody reads, later messages replace the one that waits.
            for seq in range(100):
                publisher.faces(encode(faces("cam1", "s", seq, 30.0)))
                assert quick.receive(DEADLINE_S) is not None
            received: list[int] = []
            while 99 not in received:
                message = slow.receive(DEADLINE_S)
                assert isinstance(message, Faces)
                received.append(message.seq)
    assert len(received) < 20
    assert received == sorted(received)


def test_an_encrypted_connection_needs_both_keys(tmp_path: Path) -> None:
    with pytest.raises(EndpointError, match="needs both keys"):
        Client("tcp://127.0.0.1:1", key=tmp_path / "a.key_secret")
