"""The door of a publisher: every subscriber's connection is accepted, counted and metered before ZeroMQ sees it.

libzmq has no limits of its own: it accepts until the process is out of descriptors (and then aborts it), and keeps
every topic that a peer ever subscribes to. So the listening socket is ours. A thread accepts, gives each admitted peer
a connection of its own to the ZeroMQ socket inside, and carries bytes both ways, unread: an encrypted stream stays one.
What a peer sends is metered; what it is sent is at most one piece ahead of what it takes: one that stops costs 16 KiB.

The socket inside has no name that anybody could connect to: its file is removed before it is used, and reached by the
descriptor that was opened on it (``/proc/self/fd/N``), so a process that is killed leaves nothing of it behind.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import struct
import tempfile
import threading
import time
from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path

from stream.publish.limits import Allowance, Seats, SubscriberLimits, affordable

PIECE_BYTES = 16 * 1024
"""Most that is read at once, and that waits for a peer."""
_PAUSE_S = 0.1
_PEERCRED = struct.Struct("3i")


@dataclass
class GateCounts:
    """What came to the gate so far.

    Attributes:
        connected: Subscribers connected now.
        refused: Connections closed at once, because there was no seat.
        expelled: Subscribers disconnected because they exceeded what one may send or subscribe to.
    """

    connected: int = 0
    refused: int = 0
    expelled: int = 0


class Inside:
    """A listening socket without a name, for ZeroMQ to accept from; this process alone can connect to it."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        with tempfile.TemporaryDirectory(prefix="dfer-") as folder:
            path = Path(folder) / "s"
            self._socket.bind(str(path))
            self._socket.listen(128)
            self._handle = os.open(path, os.O_PATH | os.O_CLOEXEC)

    def listening(self) -> int:
        """A descriptor of it for ``ZMQ_USE_FD``, which closes what it is given."""
        return os.dup(self._socket.fileno())

    def connect(self) -> socket.socket:
        """A new connection, non-blocking, with a name of its own (see unix(7), autobind).

        Raises:
            OSError: If nothing accepts inside.
        """
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            made.setblocking(False)
            made.bind("")
            made.connect(f"/proc/self/fd/{self._handle}")
        except BaseException:
            made.close()
            raise
        return made

    def close(self) -> None:
        """Close it; a second time does nothing."""
        if self._handle >= 0:
            self._socket.close()
            os.close(self._handle)
            self._handle = -1


class _Way:
    """One direction of a connection: what was read and not yet written."""

    def __init__(self, source: socket.socket, sink: socket.socket) -> None:
        self.source, self.sink = source, sink
        self.left = b""

    def read(self) -> int | None:
        """Read a piece, if nothing is left to write; gives its length, None at the end."""
        if self.left:
            return 0
        try:
            self.left = self.source.recv(PIECE_BYTES)
        except BlockingIOError:
            return 0
        return len(self.left) or None

    def write(self) -> None:
        """Write what is left, as far as it is taken."""
        if self.left:
            with contextlib.suppress(BlockingIOError):
                self.left = self.left[self.sink.send(self.left) :]


class _Peer:
    """A seated connection."""

    def __init__(self, outer: socket.socket, inner: socket.socket, origin: Hashable, allowance: Allowance) -> None:
        self.outer, self.inner, self.origin, self.allowance = outer, inner, origin, allowance
        self.name: bytes = inner.getsockname()
        self.topics = 0
        self.inbound, self.outbound = _Way(outer, inner), _Way(inner, outer)

    def wanted(self, end: socket.socket) -> int:
        """Which events of `end` matter now: reading, unless what was read last is not yet written."""
        comes, goes = (self.inbound, self.outbound) if end is self.outer else (self.outbound, self.inbound)
        return (0 if comes.left else selectors.EVENT_READ) | (selectors.EVENT_WRITE if goes.left else 0)


class Gate:
    """Admits, meters and carries, in a thread of its own, until closed.

    Args:
        listening: Where subscribers connect; the gate owns it from now on.
        inside: Where ZeroMQ accepts.
        limits: What each may take.
        outbound_bytes: Kernel buffer of what a peer has not taken yet.

    Attributes:
        counts: What came so far; to be read by anyone.
    """

    def __init__(self, listening: socket.socket, inside: Inside, limits: SubscriberLimits, outbound_bytes: int) -> None:
        self.counts = GateCounts()
        self._limits, self._inside, self._buffer = limits, inside, outbound_bytes
        self._seats = Seats(affordable(limits.subscribers))
        self._pace = Allowance(limits.subscribers, limits.connects_per_s, time.monotonic_ns())
        self._peers: dict[bytes, _Peer] = {}
        self._selector = selectors.DefaultSelector()
        self._listening = listening
        listening.setblocking(False)
        self._bell_out, self._bell_in = socket.socketpair()
        self._bell_out.setblocking(False)
        self._lock = threading.Lock()
        self._to_expel: list[bytes] = []
        self._closing = False
        self._selector.register(listening, selectors.EVENT_READ)
        self._selector.register(self._bell_out, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._run, name="gate", daemon=True)
        self._thread.start()

    @property
    def seats(self) -> int:
        """How many may be connected at once: what was asked for, or what the descriptors allow."""
        return self._seats.total

    def subscribed(self, name: bytes, request: bytes) -> None:
        """Count what a peer asked ZeroMQ for, and disconnect it where that is too much or no such thing.

        Args:
            name: Of its inner connection.
            request: As an XPUB socket receives it: 1 or 0, and a topic.
        """
        if (peer := self._peers.get(name)) is None:
            return
        most = self._limits.subscriptions
        peer.topics += {1: 1, 0: -1}.get(request[0] if request else 2, most + 1)
        if peer.topics > most or len(request) > self._limits.topic_bytes + 1:
            with self._lock:
                self._to_expel.append(name)
            self._ring()

    def close(self) -> None:
        """Disconnect everyone and stop listening."""
        self._closing = True
        self._ring()
        self._thread.join()
        for peer in list(self._peers.values()):
            self._part(peer)
        self._selector.close()
        for each in (self._listening, self._bell_in, self._bell_out):
            each.close()

    def _ring(self) -> None:
        with contextlib.suppress(BlockingIOError, OSError):
            self._bell_in.send(b"x", socket.MSG_DONTWAIT)

    def _run(self) -> None:
        accepting = True
        while not self._closing:
            self._pace.take(0, time.monotonic_ns())
            # Those who come faster than the pace wait in the kernel's queue, which costs nothing here.
            if accepting != (self._pace.left >= 1):
                accepting = not accepting
                self._watch(self._listening, selectors.EVENT_READ if accepting else 0, None)
            for key, events in self._selector.select(None if accepting else _PAUSE_S):
                if key.fileobj is self._listening:
                    self._accept()
                elif key.fileobj is self._bell_out:
                    self._answer_bell()
                else:
                    peer: _Peer = key.data
                    # It may have been parted with a moment ago.
                    if self._peers.get(peer.name) is peer:
                        self._carry(peer, key.fileobj is peer.outer, events)

    def _answer_bell(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._bell_out.recv(4096)
        with self._lock:
            names, self._to_expel = self._to_expel, []
        for name in names:
            if name in self._peers:
                self._expel(self._peers[name])

    def _accept(self) -> None:
        if not self._pace.take(1, time.monotonic_ns()):
            return
        try:
            outer, address = self._listening.accept()
        except OSError:
            return  # gone again, or the machine is out of descriptors: the pace keeps this from spinning
        origin = _origin(outer, address)
        if not self._seats.take(origin):
            self.counts.refused += 1
            outer.close()
            return
        try:
            outer.setblocking(False)
            outer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, self._buffer)
            if outer.family != socket.AF_UNIX:
                outer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            inner = self._inside.connect()
        except OSError:
            self._seats.leave(origin)
            self.counts.refused += 1
            outer.close()
            return
        limits = self._limits
        allowance = Allowance(limits.burst_bytes, limits.bytes_per_s, time.monotonic_ns())
        peer = _Peer(outer, inner, origin, allowance)
        self._peers[peer.name] = peer
        self.counts.connected = self._seats.taken
        for end in (outer, inner):
            self._selector.register(end, selectors.EVENT_READ, peer)

    def _carry(self, peer: _Peer, outer: bool, events: int) -> None:
        """One end of a peer's connection is ready."""
        comes, goes = (peer.inbound, peer.outbound) if outer else (peer.outbound, peer.inbound)
        try:
            if events & selectors.EVENT_WRITE:
                goes.write()
            if events & selectors.EVENT_READ:
                read = comes.read()
                if read is None:
                    return self._part(peer)
                if outer and not peer.allowance.take(read, time.monotonic_ns()):
                    return self._expel(peer)
                comes.write()
        except OSError:
            return self._part(peer)
        for end in (peer.outer, peer.inner):
            self._watch(end, peer.wanted(end), peer)

    def _watch(self, end: socket.socket, events: int, peer: _Peer | None) -> None:
        key = self._selector.get_map().get(end)
        if key is None:
            if events:
                self._selector.register(end, events, peer)
        elif not events:
            self._selector.unregister(end)
        elif key.events != events:
            self._selector.modify(end, events, peer)

    def _expel(self, peer: _Peer) -> None:
        self.counts.expelled += 1
        self._part(peer)

    def _part(self, peer: _Peer) -> None:
        for end in (peer.outer, peer.inner):
            self._watch(end, 0, peer)
            end.close()
        del self._peers[peer.name]
        self._seats.leave(peer.origin)
        self.counts.connected = self._seats.taken


def _origin(outer: socket.socket, address: object) -> Hashable:
    """Who connects: a user of this machine, or an address."""
    if outer.family == socket.AF_UNIX:
        said = outer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEERCRED.size)
        return ("user", _PEERCRED.unpack(said)[1])
    return ("address", address[0] if isinstance(address, tuple) else address)
