"""A small client: iterate over a source's messages, and ask whether they are fresh.

    with Client("ipc:///run/dferstream/cam0.ipc") as client:
        for message in client:
            for face in message.faces:
                print(face.id, face.label, face.confidence)

One socket listens to one topic, because keeping only the newest message (``newest=True``) is a property of a socket.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import zmq

from stream.publish import endpoint as endpoints
from stream.publish.message import Event, Message, MessageError, Status
from stream.publish.wire import boot_id, decode_frame, split
from stream.subscribe.connect import connect
from stream.subscribe.freshness import Freshness, FreshnessReport

STATUS_HZ = 1.0
"""Rate of the status messages of a publisher that does not declare it."""
RETRY_MS = 2_000
"""How often a subscriber whose key was refused tries again."""
_REFUSED = zmq.EVENT_HANDSHAKE_FAILED_AUTH | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL


class Client:
    """A subscriber.

    Args:
        endpoint: Where the publisher is bound; None for this machine's only source, else ``tcp://127.0.0.1:5570``.
        kind: ``"faces"``, ``"status"``, ``"event"`` or, where `dfer-stream driver` publishes, ``"driver"``.
        source: Listen to this source alone; empty for every source of the endpoint.
        newest: Keep only the newest message, for a reader slower than the publisher.
        key: This subscriber's secret CURVE key file, for a publisher beyond this machine.
        server_key: The publisher's public key file, needed with `key`.

    Raises:
        EndpointError: If the endpoint or a key cannot be used, or several sources run here and none is named.
    """

    def __init__(
        self,
        endpoint: str | None = None,
        kind: str = "faces",
        source: str = "",
        newest: bool = False,
        key: Path | None = None,
        server_key: Path | None = None,
    ) -> None:
        self.endpoint = endpoints.parse(endpoint or endpoints.default_connect(source)).uri
        self.bad = 0
        self._body = b""
        self._own_boot = boot_id()
        self._freshness: dict[str, Freshness] = {}
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context(io_threads=1)
        topic = f"{kind}/{source} " if source else f"{kind}/"
        self._connect = functools.partial(
            connect, self._context, self.endpoint, [topic.encode()], key, server_key, newest
        )
        self._keyed, self._looked_ns = key is not None, time.monotonic_ns()
        try:
            self._socket = self._watched()
        except BaseException:
            self._context.term()
            raise

    @property
    def body(self) -> bytes:
        """The newest message's body as it came, with the keys this version does not know."""
        return self._body

    def receive(self, timeout_s: float | None = None) -> Message | None:
        """The next message, or None if none came in time.

        A frame that is no message of this major version is counted in ``bad`` and passed over.

        Args:
            timeout_s: How long to wait, s; None for ever.
        """
        deadline_ns = None if timeout_s is None else time.monotonic_ns() + int(timeout_s * 1e9)
        while True:
            now_ns = time.monotonic_ns()
            left_ms = None if deadline_ns is None else max(0, -(-(deadline_ns - now_ns) // 1_000_000))
            wait_ms = left_ms if not self._keyed else min(RETRY_MS, RETRY_MS if left_ms is None else left_ms)
            if not self._socket.poll(wait_ms):
                self._retry(time.monotonic_ns())
                if deadline_ns is not None and time.monotonic_ns() >= deadline_ns:
                    return None
                continue
            data = self._socket.recv(zmq.NOBLOCK)
            try:
                message = decode_frame(data)
            except MessageError:
                self.bad += 1
                continue
            self._body = split(data).body
            self._observe(message, time.monotonic_ns())
            return message

    def freshness(self, source: str = "") -> FreshnessReport:
        """Whether a source is alive and on time now; without a name, that of the only one heard so far."""
        judge = self._freshness.get(source) if source else next(iter(self._freshness.values()), None)
        return (judge or Freshness()).judge(time.monotonic_ns())

    def close(self) -> None:
        """Disconnect."""
        self._part()
        self._context.term()

    def __iter__(self) -> Iterator[Message]:
        while True:
            message = self.receive()
            if message is not None:
                yield message

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _watched(self) -> zmq.Socket[bytes]:
        made = self._connect()
        if self._keyed:
            made.get_monitor_socket(_REFUSED)
        return made

    def _part(self) -> None:
        if self._keyed:
            self._socket.disable_monitor()
        self._socket.close(linger=0)

    def _retry(self, now_ns: int) -> None:
        """Connect anew where the key was refused: libzmq never does, and the key may have been admitted since."""
        if not self._keyed or now_ns - self._looked_ns < RETRY_MS * 1_000_000:
            return
        self._looked_ns = now_ns
        if self._socket.get_monitor_socket(_REFUSED).poll(0):
            self._part()
            self._socket = self._watched()

    def _observe(self, message: Message, now_ns: int) -> None:
        if isinstance(message, Event):
            # Events come when something happens: silence says nothing of the source.
            return
        rate = message.rate_hz or STATUS_HZ if isinstance(message, Status) else message.rate_hz
        self._freshness.setdefault(message.source, Freshness(self._own_boot)).observe(
            seq=message.seq,
            session=message.session,
            t_arrival_ns=now_ns,
            t_publish_ns=message.t_publish_ns,
            boot=message.boot_id,
            rate_hz=rate,
        )
