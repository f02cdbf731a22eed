"""The publisher: one XPUB socket that never waits for anyone.

Every message is one frame, topic and body. A subscriber that stops reading loses messages beyond its mark of eight and
small kernel buffers, and nobody else notices; the daemon's rate and memory stay what they were. So it is with one that
asks for too much: connections pass a gate (``gate.py``), and who exceeds :class:`SubscriberLimits` is disconnected. A
new subscriber of ``status/<source>`` gets the last status at once: the same bytes, the same ``seq``.

One thread owns a :class:`Publisher`. Sending also serves subscriptions, so a caller that sends nothing for long
should call :meth:`Publisher.serve` now and then.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import zmq

from stream.publish import endpoint as endpoints
from stream.publish import keys
from stream.publish.endpoint import EndpointError
from stream.publish.gate import Gate, GateCounts, Inside
from stream.publish.limits import SubscriberLimits
from stream.publish.listening import Listening
from stream.publish.rules import check_source
from stream.publish.wire import encode_picture, topic

if TYPE_CHECKING:
    from zmq.auth.thread import ThreadAuthenticator

# Measured with pyzmq 27.3: a mark of 2 loses half of a four-message burst to a healthy subscriber, 8 loses none.
SEND_MARK = 8
MOST_SOURCES = 256
"""Sources whose newest status :meth:`Publisher.forward` keeps."""
# A stalled TCP subscriber otherwise holds minutes of backlog in the kernel; Linux doubles the figure.
SEND_BUFFER_BYTES = 16 * 1024
# All that a subscriber ever sends is a topic.
_MOST_INBOUND_BYTES = 1024
_MOST_PER_SERVE = 1024
_HANDSHAKE_MS = 10_000
# Subscriptions that wait inside for one subscriber; the others wait in its connection.
_RECEIVE_MARK = 64


@dataclass
class PublishCounts:
    """What a publisher did so far.

    Attributes:
        published: Frames handed to ZeroMQ.
        refused: Frames ZeroMQ would not take without waiting.
        subscriptions: Subscriptions seen.
        resent: Status messages sent again for new subscribers.
        gate: Who came, and who was sent away.
    """

    published: int = 0
    refused: int = 0
    subscriptions: int = 0
    resent: int = 0
    gate: GateCounts = field(default_factory=GateCounts)


class Publisher:
    """Publishes one source's messages.

    Args:
        source: The source's name in topics.
        bind: Endpoint; None for :func:`stream.publish.endpoint.default_endpoint`. ``tcp://127.0.0.1:*`` takes a free
            port.
        secret_key: Secret CURVE key file; turns on encryption.
        allowed_keys: Folder of public keys that may connect; needed with `secret_key`.
        with_frames: Allow :meth:`picture`.
        limits: What subscribers may take.
        send_mark: Messages kept for one that is late.

    Raises:
        EndpointError: If the endpoint is malformed, in use, or reaches beyond this machine without both key arguments;
            if one is given without the other, or a key cannot be used.
        MessageError: If the source's name cannot be used.
    """

    def __init__(
        self,
        source: str,
        bind: str | None = None,
        secret_key: Path | None = None,
        allowed_keys: Path | None = None,
        with_frames: bool = False,
        limits: SubscriberLimits | None = None,
        send_mark: int = SEND_MARK,
    ) -> None:
        self.source = check_source(source)
        self.counts = PublishCounts()
        self._with_frames, self._mark = with_frames, send_mark
        self._topics = {kind: topic(kind, source) for kind in ("faces", "status", "event", "frames")}
        self._status: dict[bytes, bytes] = {}
        where = endpoints.parse(bind or endpoints.default_endpoint(source))
        if not where.local and (secret_key is None or allowed_keys is None):
            raise EndpointError(
                f"{where.uri} can be reached from other machines, so it needs keys",
                "make them with `dfer-stream keys` and set publish.secret_key and publish.allowed_keys; or bind to "
                "127.0.0.1",
            )
        if (secret_key is None) != (allowed_keys is None):
            raise EndpointError("one of secret_key and allowed_keys alone encrypts nothing", "give both, or neither")
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context(io_threads=1)
        self._authenticator: ThreadAuthenticator | None = None
        self._allowed: keys.AllowedKeys | None = None
        self._admitted: frozenset[bytes] = frozenset()
        self._pair: keys.KeyPair | None = None
        self._socket: zmq.Socket[bytes] | None = None
        self._listening: Listening | None = None
        self._gate: Gate | None = None
        self._inside = Inside()
        try:
            if secret_key is not None and allowed_keys is not None:
                self._authenticate(secret_key, allowed_keys)
            self._open()
            self._listening = Listening(where)
            self.endpoint = self._listening.uri
            self._gate = Gate(self._listening.socket, self._inside, limits or SubscriberLimits(), SEND_BUFFER_BYTES)
            self.counts.gate = self._gate.counts
        except BaseException:
            self.close()
            raise

    def faces(self, body: bytes) -> bool:
        """Send a ``faces`` body; false if it was refused. Never waits."""
        return self._send("faces", body)

    def event(self, body: bytes) -> bool:
        """Send an ``event`` body; false if it was refused. Never waits."""
        return self._send("event", body)

    def status(self, body: bytes) -> bool:
        """Send a ``status`` body and keep it for new subscribers; false if it was refused. Never waits."""
        self._status[self._topics["status"]] = self._topics["status"] + body
        return self._send("status", body)

    def send(self, kind: str, body: bytes) -> bool:
        """Send a body of an application's own kind on ``<kind>/<source>``; false if it was refused. Never waits."""
        if kind == "frames":
            return self._send_picture(body)
        self._topics.setdefault(kind, topic(kind, self.source))
        return self._send(kind, body)

    def picture(self, jpeg: bytes, frame_id: int) -> bool:
        """Send a JPEG on ``frames/<source>``, if that was asked for by name.

        Args:
            jpeg: A JPEG file.
            frame_id: Which frame it is.

        Raises:
            PermissionError: If it was not.
        """
        return self._send_picture(encode_picture(jpeg, frame_id))

    def forward(self, frame: bytes) -> bool:
        """Send a whole frame of any source, as it was received or recorded; false if it was refused. Never waits.

        Each source's newest status is kept for new subscribers, of :data:`MOST_SOURCES` at most.
        """
        self.serve()
        head, space, _ = frame.partition(b" ")
        known = head + space in self._status or len(self._status) < MOST_SOURCES
        if head.startswith(b"status/") and known:
            self._status[head + space] = frame
        return self._count(self._put(frame))

    def serve(self) -> int:
        """Take new subscriptions and answer those for a status; returns how many came. Never waits."""
        self._expel_revoked()
        assert self._socket is not None
        assert self._gate is not None
        came, wanted = 0, set[bytes]()
        while came < _MOST_PER_SERVE:
            try:
                frame = self._socket.recv(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                break
            request = frame.bytes
            name = _sender(frame)
            if name is not None:
                self._gate.subscribed(name, request)
            if request[:1] == b"\x01":
                came += 1
                wanted.update(each for each in self._status if each.startswith(request[1:]))
        self.counts.subscriptions += came
        for each in sorted(wanted):
            self.counts.resent += self._put(self._status[each])
        return came

    def close(self) -> None:
        """Close the socket, dropping what was not yet sent."""
        if self._listening is not None:
            self._listening.remove()
        if self._gate is not None:
            self._gate.close()
            self._gate = None
        elif self._listening is not None:
            self._listening.socket.close()
        self._listening = None
        if self._socket is not None:
            self._socket.close(linger=0)
            self._socket = None
        self._inside.close()
        if self._authenticator is not None:
            self._authenticator.stop()
            self._authenticator = None
        self._context.term()

    def __enter__(self) -> Publisher:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def check_pictures(self) -> None:
        """Raise PermissionError unless pictures were asked for by name."""
        if not self._with_frames:
            raise PermissionError("frames stay in the process unless publish.with_frames is set")

    def _send_picture(self, body: bytes) -> bool:
        self.check_pictures()
        return self._send("frames", body)

    def _send(self, kind: str, body: bytes) -> bool:
        self.serve()
        return self._count(self._put(self._topics[kind] + body))

    def _count(self, sent: bool) -> bool:
        if sent:
            self.counts.published += 1
        else:
            self.counts.refused += 1
        return sent

    def _put(self, data: bytes) -> bool:
        assert self._socket is not None
        try:
            self._socket.send(data, zmq.NOBLOCK)
        except zmq.Again:
            return False
        return True

    def _expel_revoked(self) -> None:
        """Disconnect everyone where a key was removed: who is still admitted comes back by itself, within a second.

        ZeroMQ asks for a key when a peer connects and cannot disconnect a single one later.
        """
        if self._allowed is None:
            return
        before, self._admitted = self._admitted, self._allowed.now()
        if before <= self._admitted:
            return
        assert self._socket is not None
        self._socket.close(linger=0)
        self._open()

    def _open(self) -> None:
        """Open the socket inside; everyone who was connected to the one before is disconnected."""
        made = self._socket = self._context.socket(zmq.XPUB)
        made.setsockopt(zmq.XPUB_VERBOSER, 1)
        made.setsockopt(zmq.SNDHWM, self._mark)
        made.setsockopt(zmq.RCVHWM, _RECEIVE_MARK)
        made.setsockopt(zmq.SNDBUF, SEND_BUFFER_BYTES)
        made.setsockopt(zmq.MAXMSGSIZE, _MOST_INBOUND_BYTES)
        made.setsockopt(zmq.LINGER, 0)
        # A peer that never says who it is, or vanished without a word, is noticed and its seat freed.
        made.setsockopt(zmq.HANDSHAKE_IVL, _HANDSHAKE_MS)
        made.setsockopt(zmq.HEARTBEAT_IVL, 5000)
        made.setsockopt(zmq.HEARTBEAT_TIMEOUT, 15000)
        if self._pair is not None:
            made.curve_server = True
            made.curve_publickey, made.curve_secretkey = self._pair.public, self._pair.secret
            made.zap_domain = b"dferstream"
        made.setsockopt(zmq.USE_FD, self._inside.listening())
        made.bind("ipc:///inside")  # only a name: the descriptor is what it accepts from

    def _authenticate(self, secret_key: Path, allowed_keys: Path) -> None:
        self._pair, self._allowed = keys.load_pair(secret_key), keys.AllowedKeys(allowed_keys)
        self._admitted = self._allowed.now()
        # Imported here: it brings asyncio and ssl, 5 MB that a daemon without keys never uses.
        from zmq.auth.thread import ThreadAuthenticator

        # The handler must run before the bind, or the first client slips in.
        self._authenticator = ThreadAuthenticator(self._context)
        self._authenticator.start()
        self._authenticator.configure_curve_callback(domain="dferstream", credentials_provider=self._allowed)


def _sender(frame: zmq.Frame) -> bytes | None:
    """The name of the inner connection that a subscription came by; None where that is gone."""
    try:
        with socket.socket(fileno=os.dup(int(frame.get(zmq.SRCFD)))) as connection:
            name = connection.getpeername()
    except (zmq.ZMQError, OSError, ValueError):
        return None
    return name if isinstance(name, bytes) else None
