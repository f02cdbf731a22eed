"""The publisher: one XPUB socket that never waits for anyone.

Every message is one frame, topic and body. A subscriber that stops reading loses messages beyond its mark of eight and
small kernel buffers, and nobody else notices; the daemon's rate and memory stay what they were. A new subscriber of
``status/<source>`` gets the last status at once: the same bytes, the same ``seq``.

One thread owns a :class:`Publisher`. Sending also serves subscriptions, so a caller that sends nothing for long
should call :meth:`Publisher.serve` now and then.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import zmq
import zmq.auth.thread

from stream.publish import endpoint as endpoints
from stream.publish import keys
from stream.publish.endpoint import EndpointError
from stream.publish.rules import check_source
from stream.publish.wire import encode_picture, topic

# Measured with pyzmq 27.3: a mark of 2 loses half of a four-message burst to a healthy subscriber, 8 loses none.
SEND_MARK = 8
# A stalled TCP subscriber otherwise holds minutes of backlog in the kernel; Linux doubles the figure.
SEND_BUFFER_BYTES = 16 * 1024
# All that a subscriber ever sends is a topic.
_MOST_INBOUND_BYTES = 1024
_MOST_PER_SERVE = 256
_REBIND_NS = 2_000_000_000


@dataclass
class PublishCounts:
    """What a publisher did so far.

    Attributes:
        published: Frames handed to ZeroMQ.
        refused: Frames ZeroMQ would not take without waiting.
        subscriptions: Subscriptions seen.
        resent: Status messages sent again for new subscribers.
    """

    published: int = 0
    refused: int = 0
    subscriptions: int = 0
    resent: int = 0


class Publisher:
    """Publishes one source's messages.

    Args:
        source: The source's name in topics.
        bind: Endpoint; None for :func:`stream.publish.endpoint.default_endpoint`. ``tcp://127.0.0.1:*`` takes a free
            port.
        secret_key: Secret CURVE key file; turns on encryption.
        allowed_keys: Folder of public keys that may connect; needed with `secret_key`.
        with_frames: Allow :meth:`picture`.

    Raises:
        EndpointError: If the endpoint is malformed, in use, or reaches beyond this machine without both key arguments;
            if a key cannot be used.
        MessageError: If the source's name cannot be used.
    """

    def __init__(
        self,
        source: str,
        bind: str | None = None,
        secret_key: Path | None = None,
        allowed_keys: Path | None = None,
        with_frames: bool = False,
    ) -> None:
        self.source = check_source(source)
        self.counts = PublishCounts()
        self._with_frames = with_frames
        self._topics = {kind: topic(kind, source) for kind in ("faces", "status", "event", "frames")}
        self._status: bytes | None = None
        self._file: tuple[Path, tuple[int, int]] | None = None
        where = endpoints.parse(bind or endpoints.default_endpoint(source))
        if not where.local and (secret_key is None or allowed_keys is None):
            raise EndpointError(
                f"{where.uri} can be reached from other machines, so it needs keys",
                "make them with `dfer-stream keys` and set publish.secret_key and publish.allowed_keys; or bind to "
                "127.0.0.1",
            )
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context(io_threads=1)
        self._authenticator: zmq.auth.thread.ThreadAuthenticator | None = None
        self._allowed: keys.AllowedKeys | None = None
        self._admitted: frozenset[bytes] = frozenset()
        self._pair: keys.KeyPair | None = None
        self._socket = self._context.socket(zmq.XPUB)
        try:
            self._set_options()
            if secret_key is not None and allowed_keys is not None:
                self._encrypt(secret_key, allowed_keys)
            self.endpoint = self._bind(where)
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
        self._status = self._topics["status"] + body
        return self._send("status", body)

    def picture(self, jpeg: bytes, frame_id: int) -> bool:
        """Send a JPEG on ``frames/<source>``, if that was asked for by name.

        Args:
            jpeg: A JPEG file.
            frame_id: Which frame it is.

        Raises:
            PermissionError: If it was not.
        """
        if not self._with_frames:
            raise PermissionError("frames stay in the process unless publish.with_frames is set")
        return self._send("frames", encode_picture(jpeg, frame_id))

    def serve(self) -> int:
        """Take new subscriptions and answer those for the status; returns how many came. Never waits."""
        self._expel_revoked()
        came, wants_status = 0, False
        while came < _MOST_PER_SERVE:
            try:
                request = self._socket.recv(zmq.NOBLOCK)
            except zmq.Again:
                break
            if request[:1] == b"\x01":
                came += 1
                wants_status |= self._topics["status"].startswith(request[1:])
        self.counts.subscriptions += came
        if wants_status and self._status is not None and self._put(self._status):
            self.counts.resent += 1
        return came

    def close(self) -> None:
        """Close the socket, dropping what was not yet sent."""
        self._socket.close(linger=0)
        if self._authenticator is not None:
            self._authenticator.stop()
            self._authenticator = None
        self._context.term()
        if self._file is not None:
            path, made = self._file
            self._file = None
            # Another daemon may have made its own file there since.
            with contextlib.suppress(OSError, EndpointError), endpoints.claimed(path):
                if _identity(path) == made:
                    path.unlink()

    def __enter__(self) -> Publisher:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _send(self, kind: str, body: bytes) -> bool:
        self.serve()
        if self._put(self._topics[kind] + body):
            self.counts.published += 1
            return True
        self.counts.refused += 1
        return False

    def _put(self, data: bytes) -> bool:
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
        self._socket.close(linger=0)
        self._socket = self._context.socket(zmq.XPUB)
        self._set_options()
        self._lock()
        where = endpoints.parse(self.endpoint)
        # ZeroMQ's own thread gives the address back a moment later; a socket file it deletes itself, and so would a new
        # one that is there before.
        deadline_ns = time.monotonic_ns() + _REBIND_NS
        while True:
            late = time.monotonic_ns() > deadline_ns
            try:
                if late or where.path is None or not where.path.exists():
                    self._bind(where)
                    return
            except EndpointError:
                if late:
                    raise
            time.sleep(0.002)

    def _set_options(self) -> None:
        self._socket.setsockopt(zmq.XPUB_VERBOSE, 1)
        self._socket.setsockopt(zmq.SNDHWM, SEND_MARK)
        self._socket.setsockopt(zmq.SNDBUF, SEND_BUFFER_BYTES)
        self._socket.setsockopt(zmq.MAXMSGSIZE, _MOST_INBOUND_BYTES)
        self._socket.setsockopt(zmq.LINGER, 0)
        # A peer that vanished without a word is noticed and its queue freed.
        self._socket.setsockopt(zmq.HEARTBEAT_IVL, 5000)
        self._socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, 15000)

    def _encrypt(self, secret_key: Path, allowed_keys: Path) -> None:
        pair, self._allowed = keys.load_pair(secret_key), keys.AllowedKeys(allowed_keys)
        self._admitted = self._allowed.now()
        # The handler must run before the bind, or the first client slips in.
        self._authenticator = zmq.auth.thread.ThreadAuthenticator(self._context)
        self._authenticator.start()
        self._authenticator.configure_curve_callback(domain="dferstream", credentials_provider=self._allowed)
        self._pair = pair
        self._lock()

    def _lock(self) -> None:
        pair = self._pair
        assert pair is not None
        self._socket.curve_server = True
        self._socket.curve_publickey = pair.public
        self._socket.curve_secretkey = pair.secret
        self._socket.zap_domain = b"dferstream"

    def _bind(self, where: endpoints.Endpoint) -> str:
        with contextlib.ExitStack() as held:
            if where.path is not None:
                held.enter_context(endpoints.claimed(where.path))
                endpoints.clear_stale(where.path)
            held.enter_context(_GROUP_UMASK)
            self._socket.setsockopt(zmq.IPV6, int("[" in where.uri))
            try:
                self._socket.bind(where.uri)
            except zmq.ZMQError as error:
                if error.errno == zmq.EADDRINUSE:
                    raise endpoints.in_use(where.uri) from error
                raise EndpointError(f"cannot bind {where.uri}: {error}", "choose another --bind") from error
            if where.path is not None:
                self._file = (where.path, _identity(where.path))
        return str(self._socket.getsockopt_string(zmq.LAST_ENDPOINT))


def _identity(path: Path) -> tuple[int, int]:
    """Tells a socket file from another one made later at the same path, whose inode may have the same number."""
    found = path.lstat()
    return found.st_ino, found.st_mtime_ns


class _GroupUmask:
    """Lets owner and group, and nobody else, connect to a socket file made meanwhile.

    The umask belongs to the whole process, so one thread at a time.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._before = 0

    def __enter__(self) -> None:
        self._lock.acquire()
        self._before = os.umask(0o007)

    def __exit__(self, *exc: object) -> None:
        os.umask(self._before)
        self._lock.release()


_GROUP_UMASK = _GroupUmask()
