"""The publisher's guard, with limits so low that a handful of harmless connections exceeds them."""

from __future__ import annotations

import contextlib
import os
import random
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import zmq

from stream.publish import keys
from stream.publish.limits import RESERVED_DESCRIPTORS, SubscriberLimits
from stream.publish.publisher import Publisher
from tests.waiting import wait_for

Socket = zmq.Socket[bytes]
GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32)
READY = b"\x05READY\x0bSocket-Type\x00\x00\x00\x03SUB"


@pytest.fixture
def context() -> Iterator[zmq.Context[Socket]]:
    made: zmq.Context[Socket] = zmq.Context()
    yield made
    made.destroy(linger=0)


def subscriber(context: zmq.Context[Socket], publisher: Publisher, *topics: bytes) -> Socket:
    made = context.socket(zmq.SUB)
    for topic in topics:
        made.subscribe(topic)
    made.connect(publisher.endpoint)
    return made


def gets(publisher: Publisher, one: Socket) -> bool:
    """Whether a subscriber that is known to hear gets the next message too."""
    while one.poll(0):
        one.recv()
    publisher.faces(b"{}")
    return bool(one.poll(20_000))


def hears(publisher: Publisher, one: Socket) -> bool:
    publisher.faces(b"{}")
    heard = bool(one.poll(5))
    while one.poll(0):
        one.recv()
    return heard


def connected(publisher: Publisher) -> socket.socket:
    if publisher.endpoint.startswith("ipc://"):
        made = socket.socket(socket.AF_UNIX)
        made.connect(publisher.endpoint[len("ipc://") :])
    else:
        host, _, port = publisher.endpoint[len("tcp://") :].rpartition(":")
        made = socket.create_connection((host, int(port)))
    made.settimeout(20)
    return made


def raw(publisher: Publisher) -> socket.socket:
    """A connection that speaks ZMTP by hand, whose handshake is done."""
    made = connected(publisher)
    made.sendall(GREETING + b"\x04" + bytes([len(READY)]) + READY)
    said = b""
    while b"Socket-Type" not in said:
        said += made.recv(4096)
    return made


def frame(topic: bytes) -> bytes:
    return b"\x00" + bytes([len(topic) + 1]) + b"\x01" + topic


def closed(connection: socket.socket) -> bool:
    """Whether the other side closed it, after whatever it still said."""
    try:
        while connection.recv(4096):
            pass
    except ConnectionError:
        pass
    return True


@pytest.fixture(params=["ipc", "tcp"])
def bind(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"ipc://{tmp_path}/a.ipc" if request.param == "ipc" else "tcp://127.0.0.1:*"


def test_who_subscribes_to_too_much_is_disconnected_and_the_others_hear_every_message(
    bind: str, context: zmq.Context[Socket]
) -> None:
    with Publisher("cam1", bind, limits=SubscriberLimits(subscriptions=4)) as publisher:
        good = subscriber(context, publisher, b"faces/")
        wait_for(lambda: hears(publisher, good))
        greedy = subscriber(context, publisher, *(b"topic%d" % k for k in range(6)), b"faces/")
        process = psutil.Process()
        before = process.memory_info().rss
        heard = 0
        # It comes back by itself, again and again, as fast as libzmq does.
        while publisher.counts.gate.expelled < 5:
            publisher.faces(b"{}")
            assert good.poll(20_000), "a message that the good subscriber did not get"
            good.recv()
            greedy.poll(0)  # libzmq subscribes anew only while its socket is used
            heard += 1
        assert heard >= 5
        assert process.memory_info().rss < 1.15 * before
        greedy.close(linger=0)
        wait_for(lambda: publisher.serve() >= 0 and publisher.counts.gate.connected == 1)
        assert gets(publisher, good)


def test_as_many_topics_as_allowed_may_come_and_go_for_ever(tmp_path: Path, context: zmq.Context[Socket]) -> None:
    limits = SubscriberLimits(subscriptions=4)
    with Publisher("cam1", f"ipc://{tmp_path}/a.ipc", limits=limits) as publisher:
        one = subscriber(context, publisher, b"faces/")
        wait_for(lambda: hears(publisher, one))
        for turn in range(20):
            for topic in (b"a%d" % turn, b"b%d" % turn, b"c%d" % turn):
                one.subscribe(topic)
            for topic in (b"a%d" % turn, b"b%d" % turn, b"c%d" % turn):
                one.unsubscribe(topic)
        seen = publisher.counts.subscriptions
        one.subscribe(b"last")
        wait_for(lambda: bool(publisher.serve()) or publisher.counts.subscriptions > seen)
        assert gets(publisher, one)
        assert publisher.counts.gate.expelled == 0


@pytest.mark.parametrize(
    "sent",
    [frame(b"x" * 17), b"\x00\x05hello", b"".join(frame(b"%d" % k) for k in range(200))],
    ids=["a topic too long", "no subscription at all", "more bytes at once than allowed"],
)
def test_what_no_subscriber_sends_ends_its_connection(bind: str, sent: bytes, context: zmq.Context[Socket]) -> None:
    limits = SubscriberLimits(subscriptions=200, topic_bytes=16, burst_bytes=512, bytes_per_s=16)
    with Publisher("cam1", bind, limits=limits) as publisher:
        good = subscriber(context, publisher, b"faces/")
        wait_for(lambda: hears(publisher, good))
        with raw(publisher) as bad:
            wait_for(lambda: publisher.counts.gate.connected == 2)
            bad.sendall(sent)
            wait_for(lambda: hears(publisher, good) and publisher.counts.gate.expelled == 1)
            assert closed(bad)
        assert publisher.counts.gate.connected == 1
        assert gets(publisher, good)


def test_who_comes_when_every_seat_is_taken_is_refused_and_gets_the_next_free_one(
    bind: str, context: zmq.Context[Socket]
) -> None:
    with Publisher("cam1", bind, limits=SubscriberLimits(subscribers=4)) as publisher:
        seated = [subscriber(context, publisher, b"faces/") for _ in range(3)]  # all that one origin may have
        for one in seated:
            wait_for(lambda one=one: hears(publisher, one))  # type: ignore[misc]
        with connected(publisher) as late:
            assert closed(late)
        assert publisher.counts.gate.refused == 1
        waiting = subscriber(context, publisher, b"faces/")
        wait_for(lambda: publisher.counts.gate.refused > 2)  # libzmq tries again and again
        assert all(gets(publisher, one) for one in seated)
        seated[0].close(linger=0)
        wait_for(lambda: hears(publisher, waiting))
        assert publisher.counts.gate.connected == 3


def test_more_who_come_than_the_pace_allows_wait_and_the_seated_do_not(
    tmp_path: Path, context: zmq.Context[Socket]
) -> None:
    limits = SubscriberLimits(subscribers=4, connects_per_s=2)
    with Publisher("cam1", f"ipc://{tmp_path}/a.ipc", limits=limits) as publisher:
        good = subscriber(context, publisher, b"faces/")
        wait_for(lambda: hears(publisher, good))
        for _ in range(6):
            with raw(publisher):
                assert gets(publisher, good)
        late = subscriber(context, publisher, b"faces/")
        wait_for(lambda: hears(publisher, late))


def test_a_peer_of_another_mechanism_frees_its_seat(bind: str) -> None:
    with Publisher("cam1", bind, limits=SubscriberLimits(subscribers=1)) as publisher:
        with connected(publisher) as seated:
            wait_for(lambda: publisher.counts.gate.connected == 1)
            seated.sendall(GREETING.replace(b"NULL", b"PLAN"))
            assert closed(seated)
        wait_for(lambda: publisher.counts.gate.connected == 0)


def test_an_encrypted_subscriber_is_counted_like_any_other(tmp_path: Path, context: zmq.Context[Socket]) -> None:
    server, robot = keys.generate(tmp_path / "server", "cam1"), keys.generate(tmp_path / "robot", "robot")
    allowed = tmp_path / "allowed"
    allowed.mkdir()
    (allowed / "robot.key").write_bytes(robot.public.read_bytes())
    limits = SubscriberLimits(subscriptions=4)
    with Publisher("cam1", "tcp://0.0.0.0:*", server.secret, allowed, limits=limits) as publisher:
        uri = publisher.endpoint.replace("0.0.0.0", "127.0.0.1")

        def client(*topics: bytes) -> Socket:
            made, pair = context.socket(zmq.SUB), keys.load_pair(robot.secret)
            made.curve_serverkey = keys.load_public(server.public)
            made.curve_publickey, made.curve_secretkey = pair.public, pair.secret
            for topic in topics:
                made.subscribe(topic)
            made.connect(uri)
            return made

        good = client(b"faces/")
        wait_for(lambda: hears(publisher, good))
        greedy = client(*(b"topic%d" % k for k in range(6)))
        wait_for(lambda: hears(publisher, good) and not greedy.poll(0) and publisher.counts.gate.expelled >= 2)
        assert gets(publisher, good)


@pytest.mark.parametrize("seed", range(4))
def test_bytes_of_any_kind_change_nothing_for_the_others(
    tmp_path: Path, context: zmq.Context[Socket], seed: int
) -> None:
    chances = random.Random(seed)
    begin = GREETING + b"\x04" + bytes([len(READY)]) + READY
    limits = SubscriberLimits(connects_per_s=1000)
    with Publisher("cam1", f"ipc://{tmp_path}/a.ipc", limits=limits) as publisher:
        good = subscriber(context, publisher, b"faces/")
        wait_for(lambda: hears(publisher, good))
        for _ in range(40):
            sent = bytearray(begin[: 1 + chances.randrange(len(begin))] + chances.randbytes(chances.randrange(200)))
            for _ in range(chances.randrange(3)):
                sent[chances.randrange(len(sent))] = chances.randrange(256)
            with connected(publisher) as bad:
                with contextlib.suppress(ConnectionError):
                    bad.sendall(sent)
                assert gets(publisher, good)
        wait_for(lambda: publisher.serve() >= 0 and publisher.counts.gate.connected == 1)


FEW_DESCRIPTORS = """
import os, resource, sys
from stream.publish.publisher import Publisher
resource.setrlimit(resource.RLIMIT_NOFILE, (192, 192))
with Publisher("cam1", sys.argv[1]) as publisher:
    print("bound", flush=True)
    for line in sys.stdin:
        publisher.faces(b"{}")
        gate = publisher.counts.gate
        print(gate.connected, gate.refused, 192 - len(os.listdir("/proc/self/fd")), flush=True)
"""


def test_the_descriptor_reserve_is_never_touched(tmp_path: Path) -> None:
    command = [sys.executable, "-c", FEW_DESCRIPTORS, f"ipc://{tmp_path}/a.ipc"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stdout.readline() == "bound\n"
        held = []
        for _ in range(40):
            held.append(socket.socket(socket.AF_UNIX))
            held[-1].connect(f"{tmp_path}/a.ipc")

        def now() -> tuple[int, ...]:
            assert child.stdin is not None
            assert child.stdout is not None
            child.stdin.write("\n")
            child.stdin.flush()
            return tuple(map(int, child.stdout.readline().split()))

        wait_for(lambda: sum(now()[:2]) == 40)
        connected, refused, spare = now()
        assert 0 < connected < 20
        assert refused == 40 - connected
        assert spare >= RESERVED_DESCRIPTORS - 3
        for one in held:
            one.close()
        wait_for(lambda: now()[0] == 0)
        child.stdin.close()
        assert child.wait(60) == 0


def test_nothing_of_the_socket_inside_is_left_or_can_be_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    before = set(os.listdir("/proc/self/fd"))
    with Publisher("cam1", "tcp://127.0.0.1:*"):
        assert os.listdir(tmp_path) == []
    wait_for(lambda: len(set(os.listdir("/proc/self/fd")) - before) <= 1)
