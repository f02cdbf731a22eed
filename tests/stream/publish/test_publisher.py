from __future__ import annotations

import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import zmq

from stream.publish import keys
from stream.publish.endpoint import EndpointError
from stream.publish.publisher import Publisher
from tests.waiting import wait_for

DEADLINE_S = 20.0


@pytest.fixture
def context() -> Iterator[zmq.Context[zmq.Socket[bytes]]]:
    made: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    yield made
    made.destroy(linger=0)


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, f"waited {DEADLINE_S} s for {what}"
        time.sleep(0.005)


def subscriber(context: zmq.Context[zmq.Socket[bytes]], uri: str, topic: bytes) -> zmq.Socket[bytes]:
    made = context.socket(zmq.SUB)
    made.setsockopt(zmq.RCVTIMEO, int(DEADLINE_S * 1e3))
    made.subscribe(topic)
    made.connect(uri)
    return made


def wait_for_subscription(publisher: Publisher) -> None:
    until(lambda: publisher.serve() > 0, "a subscription")


OTHER = """
import sys, zmq
uri, topic, count = sys.argv[1], sys.argv[2].encode(), int(sys.argv[3])
s = zmq.Context().socket(zmq.SUB)
s.setsockopt(zmq.RCVTIMEO, 20000)
s.subscribe(topic)
s.connect(uri)
for _ in range(count):
    sys.stdout.buffer.write(s.recv() + b"\\n")
    sys.stdout.flush()
"""


@pytest.mark.parametrize("transport", ["ipc", "tcp"])
def test_another_process_hears_every_message_of_its_topic(tmp_path: Path, transport: str) -> None:
    bind = f"ipc://{tmp_path}/a.ipc" if transport == "ipc" else "tcp://127.0.0.1:*"
    with Publisher("cam1", bind) as publisher:
        with subprocess.Popen(
            [sys.executable, "-c", OTHER, publisher.endpoint, "faces/cam1 ", "200"], stdout=subprocess.PIPE
        ) as child:
            assert child.stdout is not None
            wait_for_subscription(publisher)
            heard = []
            for start in range(0, 200, 4):  # bursts of four, as four faces' events would come
                for seq in range(start, start + 4):
                    assert publisher.event(b"not asked for")
                    assert publisher.faces(b"%d" % seq)
                heard += [child.stdout.readline() for _ in range(4)]
            assert child.wait(DEADLINE_S) == 0
        assert heard == [b"faces/cam1 %d\n" % seq for seq in range(200)]
        assert publisher.counts.refused == 0
        assert publisher.counts.published == 400


def test_a_new_subscriber_of_the_status_gets_the_last_one_the_same_bytes(
    tmp_path: Path, context: zmq.Context[zmq.Socket[bytes]]
) -> None:
    with Publisher("cam1", f"ipc://{tmp_path}/a.ipc") as publisher:
        publisher.status(b'{"seq":1}')
        publisher.status(b'{"seq":2}')
        # A prefix, the topic itself, and a second subscriber of the very same topic, which XPUB_VERBOSE passes on.
        for count, topic in enumerate((b"status/", b"status/cam1 ", b"status/cam1 ", b""), start=1):
            one = subscriber(context, publisher.endpoint, topic)
            wait_for_subscription(publisher)
            assert one.recv() == b'status/cam1 {"seq":2}'
            assert publisher.counts.resent == count
        other = subscriber(context, publisher.endpoint, b"status/cam10 ")
        wait_for_subscription(publisher)
        assert publisher.counts.resent == 4
        assert other.poll(0) == 0


def test_cam1_does_not_hear_cam10(context: zmq.Context[zmq.Socket[bytes]], tmp_path: Path) -> None:
    with Publisher("cam10", f"ipc://{tmp_path}/a.ipc") as publisher:
        one = subscriber(context, publisher.endpoint, b"faces/cam1 ")
        ten = subscriber(context, publisher.endpoint, b"faces/cam10 ")
        until(lambda: publisher.serve() >= 0 and publisher.counts.subscriptions == 2, "both subscriptions")
        publisher.faces(b"{}")
        assert ten.recv() == b"faces/cam10 {}"
        assert one.poll(50) == 0


STALLED = """
import socket, sys, time, zmq
s = zmq.Context().socket(zmq.SUB)
s.setsockopt(zmq.RCVHWM, 8)
s.setsockopt(zmq.RCVBUF, 8192)
s.subscribe(b"faces/")
s.connect(sys.argv[1])
s.recv()
print("heard", flush=True)
sys.stdin.readline()
left = 0
while s.poll(1000):
    s.recv()
    left += 1
print(left, flush=True)
"""


@pytest.mark.parametrize("transport", ["ipc", "tcp"])
def test_a_stopped_subscriber_changes_neither_rate_nor_memory(
    tmp_path: Path, transport: str, context: zmq.Context[zmq.Socket[bytes]]
) -> None:
    # A minute at 30 Hz, sent without waiting, beside a subscriber that reads and one that was stopped with SIGSTOP.
    bind = f"ipc://{tmp_path}/a.ipc" if transport == "ipc" else "tcp://127.0.0.1:*"
    body = b"x" * 3000
    with Publisher("cam1", bind) as publisher:
        with subprocess.Popen(
            [sys.executable, "-c", STALLED, publisher.endpoint],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as child:
            assert child.stdout is not None
            assert child.stdin is not None
            wait_for_subscription(publisher)
            publisher.faces(body)
            assert child.stdout.readline() == "heard\n"
            child.send_signal(signal.SIGSTOP)
            reader = subscriber(context, publisher.endpoint, b"faces/")
            wait_for_subscription(publisher)
            process = psutil.Process()
            for _ in range(200):
                assert publisher.faces(body)
                reader.recv()
            before = process.memory_info().rss
            for _ in range(1800):
                assert publisher.faces(body)
                assert reader.recv() == b"faces/cam1 " + body
            grown = process.memory_info().rss - before
            assert grown < 1 << 20
            assert publisher.counts.refused == 0
            child.send_signal(signal.SIGCONT)
            child.stdin.write("\n")
            child.stdin.flush()
            left = int(child.stdout.readline())
            assert left < 600  # seconds of backlog, not the whole minute
        assert publisher.counts.published == 2001


def test_a_socket_file_is_for_owner_and_group_and_goes_when_closed(tmp_path: Path) -> None:
    path = tmp_path / "a.ipc"
    before = os.umask(0o022)
    try:
        with Publisher("cam1", f"ipc://{path}"):
            assert stat.S_IMODE(path.stat().st_mode) == 0o770
            assert os.umask(0o022) == 0o022
    finally:
        os.umask(before)
    assert not path.exists()


def test_a_killed_publishers_file_is_replaced_and_a_live_ones_is_not(
    tmp_path: Path, context: zmq.Context[zmq.Socket[bytes]]
) -> None:
    uri = f"ipc://{tmp_path}/a.ipc"
    code = textwrap.dedent("""
        import sys
        from stream.publish.publisher import Publisher
        publisher = Publisher("cam1", sys.argv[1])
        print("bound", flush=True)
        sys.stdin.read()
    """)
    with subprocess.Popen([sys.executable, "-c", code, uri], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"bound\n"
        with pytest.raises(EndpointError, match="in use by another process; stop it, or choose another endpoint"):
            Publisher("cam1", uri)
        child.kill()
        child.wait()
    assert (tmp_path / "a.ipc").exists()
    with Publisher("cam1", uri) as publisher:
        one = subscriber(context, uri, b"faces/")
        wait_for_subscription(publisher)
        publisher.faces(b"{}")
        assert one.recv() == b"faces/cam1 {}"


def test_a_taken_port_is_said_so() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(EndpointError, match="in use by another process"):
            Publisher("cam1", f"tcp://127.0.0.1:{taken.getsockname()[1]}")


def test_a_file_that_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.ipc"
    path.write_text("precious")
    with pytest.raises(EndpointError, match="is not a socket"):
        Publisher("cam1", f"ipc://{path}")
    assert path.read_text() == "precious"


def test_an_applications_own_kind_has_a_topic_of_its_own(
    context: zmq.Context[zmq.Socket[bytes]], tmp_path: Path
) -> None:
    with Publisher("cam1", f"ipc://{tmp_path}/a.ipc") as publisher:
        heard = subscriber(context, publisher.endpoint, b"driver/cam1 ")
        wait_for_subscription(publisher)
        assert publisher.faces(b"x")
        assert publisher.send("driver", b"{}")
        assert heard.recv() == b"driver/cam1 {}"
        with pytest.raises(PermissionError):
            publisher.send("frames", b"a picture by another door")


def test_frames_stay_in_the_process_unless_asked_for(tmp_path: Path) -> None:
    with Publisher("cam1", f"ipc://{tmp_path}/a.ipc") as publisher, pytest.raises(PermissionError, match="with_frames"):
        publisher.picture(b"\xff\xd8jpeg", 7)
    with Publisher("cam1", f"ipc://{tmp_path}/a.ipc", with_frames=True) as publisher:
        assert publisher.picture(b"\xff\xd8jpeg", 7)


def test_only_listed_keys_hear_anything(tmp_path: Path, context: zmq.Context[zmq.Socket[bytes]]) -> None:
    server = keys.generate(tmp_path / "server", "publisher")
    allowed = tmp_path / "allowed"
    robot = keys.generate(tmp_path / "robot", "robot")
    stranger = keys.generate(tmp_path / "stranger", "stranger")
    allowed.mkdir()
    (allowed / "robot.key").write_bytes(robot.public.read_bytes())

    def client(secret: Path | None) -> zmq.Socket[bytes]:
        made = context.socket(zmq.SUB)
        made.setsockopt(zmq.RCVTIMEO, int(DEADLINE_S * 1e3))
        if secret is not None:
            pair = keys.load_pair(secret)
            made.curve_serverkey = keys.load_public(server.public)
            made.curve_publickey, made.curve_secretkey = pair.public, pair.secret
        made.subscribe(b"")
        made.connect(uri)
        return made

    with Publisher("cam1", "tcp://0.0.0.0:*", server.secret, allowed) as publisher:
        uri = publisher.endpoint.replace("0.0.0.0", "127.0.0.1")
        strangers = [client(stranger.secret), client(None)]
        friend = client(robot.secret)
        wait_for_subscription(publisher)
        for _ in range(5):
            publisher.faces(b"{}")
            assert friend.recv() == b"faces/cam1 {}"
        assert [one.poll(100) for one in strangers] == [0, 0]
        assert publisher.counts.subscriptions == 1


@pytest.mark.parametrize("where", ["tcp://127.0.0.1:*", "ipc"])
def test_a_removed_key_hears_nothing_within_a_second_and_the_others_go_on(
    tmp_path: Path, context: zmq.Context[zmq.Socket[bytes]], where: str
) -> None:
    server = keys.generate(tmp_path / "server", "publisher")
    allowed = tmp_path / "allowed"
    allowed.mkdir()
    pairs = {name: keys.generate(tmp_path / name, name) for name in ("robot", "tablet", "late")}
    for name in ("robot", "tablet"):
        (allowed / f"{name}.key").write_bytes(pairs[name].public.read_bytes())

    def client(name: str) -> zmq.Socket[bytes]:
        made = context.socket(zmq.SUB)
        pair = keys.load_pair(pairs[name].secret)
        made.curve_serverkey = keys.load_public(server.public)
        made.curve_publickey, made.curve_secretkey = pair.public, pair.secret
        made.subscribe(b"")
        made.connect(publisher.endpoint)
        return made

    def hears(socket: zmq.Socket[bytes]) -> bool:
        publisher.faces(b"{}")
        return bool(socket.poll(2)) and socket.recv() == b"faces/cam1 {}"

    def silent_after_s(socket: zmq.Socket[bytes]) -> float:
        begun_ns = last_ns = time.monotonic_ns()
        while time.monotonic_ns() - begun_ns < 2_000_000_000:
            drain(socket)  # else what was sent before would count as heard later
            if hears(socket):
                last_ns = time.monotonic_ns()
        return (last_ns - begun_ns) / 1e9

    def drain(socket: zmq.Socket[bytes]) -> None:
        while socket.poll(0):
            socket.recv()

    endpoint = f"ipc://{tmp_path}/a.ipc" if where == "ipc" else where
    with Publisher("cam1", endpoint, server.secret, allowed) as publisher:
        bound = publisher.endpoint
        robot, tablet = client("robot"), client("tablet")
        wait_for(lambda: hears(robot), 30)
        wait_for(lambda: hears(tablet), 30)
        (allowed / "robot.key").unlink()
        assert silent_after_s(robot) < 1
        drain(tablet)
        wait_for(lambda: hears(tablet), 30)
        assert publisher.endpoint == bound
        # Nor by connecting again; and a key that is added hears without a restart.
        again = client("robot")
        (allowed / "late.key").write_bytes(pairs["late"].public.read_bytes())
        late = client("late")
        wait_for(lambda: hears(late), 30)
        assert not again.poll(0)
        assert not robot.poll(0)
        # A folder that is gone admits nobody.
        shutil.rmtree(allowed)
        assert silent_after_s(late) < 1
