from __future__ import annotations

import threading
from pathlib import Path

from stream.publish import keys
from stream.publish.publisher import Publisher
from stream.publish.wire import encode
from stream.subscribe.client import Client
from tests.stream.recording.wire import faces


def test_a_key_that_is_admitted_later_is_heard_without_a_restart(tmp_path: Path) -> None:
    server, robot, other = (keys.generate(tmp_path / name, name) for name in ("cam1", "robot", "other"))
    allowed = tmp_path / "allowed"
    allowed.mkdir()
    (allowed / "other.key").write_bytes(other.public.read_bytes())
    stop = threading.Event()
    with (
        Publisher("cam1", "tcp://127.0.0.1:*", server.secret, allowed) as publisher,
        Client(publisher.endpoint, key=robot.secret, server_key=server.public) as client,
    ):

        def publish() -> None:
            body = encode(faces(1))
            while not stop.wait(0.02):
                publisher.faces(body)

        sending = threading.Thread(target=publish)
        sending.start()
        try:
            assert client.receive(0.5) is None  # refused, and libzmq gives up
            (allowed / "robot.key").write_bytes(robot.public.read_bytes())
            message = client.receive(60)
            assert message is not None
            assert message.source == "cam1"
        finally:
            stop.set()
            sending.join()
