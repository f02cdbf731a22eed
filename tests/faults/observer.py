"""What comes out of an endpoint, message by message, with its time of arrival."""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path

import msgspec
import zmq

from stream.subscribe.connect import connect

_KEPT = 100_000


class Body(msgspec.Struct):
    """What is looked at of a body."""

    session: str = ""
    seq: int = -1
    valid: bool = False
    t_capture_ns: int | None = None
    t_publish_ns: int = 0


@dataclass(frozen=True)
class Heard:
    """A message.

    Attributes:
        arrival_ns: CLOCK_MONOTONIC.
        topic: As on the wire.
        body: Its beginning.
    """

    arrival_ns: int
    topic: str
    body: Body


class Observer:
    """Listens in a thread of its own until closed.

    Args:
        endpoint: Where to.
        key: Secret key, for an endpoint that wants one.
        server_key: The other side's public key.
    """

    def __init__(self, endpoint: str, key: Path | None = None, server_key: Path | None = None) -> None:
        self._decoder = msgspec.json.Decoder(Body)
        self._heard: deque[Heard] = deque(maxlen=_KEPT)
        self._closing = threading.Event()
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context(io_threads=1)
        self._socket = connect(self._context, endpoint, [b"faces/"], key, server_key, mark=10_000)
        self._thread = threading.Thread(target=self._run, name="observer", daemon=True)
        self._thread.start()

    def since(self, ns: int) -> list[Heard]:
        """What arrived since then, oldest first."""
        found = []
        for each in reversed(self._heard.copy()):
            if each.arrival_ns < ns:
                break
            found.append(each)
        return found[::-1]

    def close(self) -> None:
        """Stop listening."""
        self._closing.set()
        self._thread.join()
        self._context.destroy(linger=0)

    def _run(self) -> None:
        while not self._closing.is_set():
            if self._socket.poll(100):
                topic, _, body = self._socket.recv().partition(b" ")
                self._heard.append(Heard(time.monotonic_ns(), topic.decode(), self._decoder.decode(body)))
