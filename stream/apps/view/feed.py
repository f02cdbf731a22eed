"""From the daemon to the page: each topic of each endpoint is read in a thread of its own and handed on as an item."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from stream.publish.message import Event, Message, Status
from stream.publish.wire import boot_id
from stream.subscribe.client import Client
from stream.subscribe.freshness import FreshnessReport
from stream.subscribe.pictures import Pictures

_POLL_S = 0.25


@dataclass(frozen=True)
class Item:
    """One thing to send to every viewer, made once for all of them.

    Attributes:
        key: What it replaces in a viewer's mailbox where that has not been sent yet.
        data: Text is JSON with a ``type``; bytes are a picture.
        lasting: Whether a viewer that comes later gets it, too.
    """

    key: tuple[str, ...]
    data: str | bytes
    lasting: bool = False


@dataclass(frozen=True)
class Place:
    """Where a daemon publishes, and the keys for it.

    Attributes:
        endpoint: As :class:`~stream.subscribe.client.Client` takes it.
        key: This subscriber's secret CURVE key file, or None.
        server_key: The publisher's public key file, or None.
    """

    endpoint: str
    key: Path | None = None
    server_key: Path | None = None


class Feed:
    """Reads one daemon, from now until it is closed.

    Args:
        place: Where it publishes.
        take: Called from the feed's threads with each item; must not wait.

    Raises:
        EndpointError: If the endpoint or a key cannot be used.
    """

    def __init__(self, place: Place, take: Callable[[Item], None]) -> None:
        self.place, self._take = place, take
        self.heard = threading.Event()
        self._stop = threading.Event()
        self._boot = boot_id()
        given = (place.endpoint, place.key, place.server_key)
        clients: list[Client | Pictures] = []
        try:
            for kind in ("faces", "status", "event"):
                clients.append(Client(given[0], kind, key=given[1], server_key=given[2]))
            clients.append(Pictures(*given))
        except BaseException:
            for client in clients:
                client.close()
            raise
        # Each thread owns its client's socket and closes it.
        self._threads = [threading.Thread(target=self._read, args=(client,), daemon=True) for client in clients]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Stop reading and disconnect."""
        self._stop.set()
        for thread in self._threads:
            thread.join(10)

    def _read(self, client: Client | Pictures) -> None:
        with client:
            if isinstance(client, Pictures):
                self._read_pictures(client)
            else:
                self._read_messages(client)

    def _read_pictures(self, client: Pictures) -> None:
        while not self._stop.is_set():
            found = client.receive(_POLL_S)
            if found is not None:
                source, picture = found
                head = msgspec.json.encode({"source": source, "frame_id": picture.frame_id})
                data = len(head).to_bytes(2, "big") + head + picture.jpeg
                self._take(Item(("picture", source), data))

    def _read_messages(self, client: Client) -> None:
        sources: set[str] = set()
        judged_ns, bad = 0, 0
        while not self._stop.is_set():
            message = client.receive(_POLL_S)
            if message is not None:
                self.heard.set()
                self._take(self._item(message, client.body))
                if not isinstance(message, Event | Status):
                    sources.add(message.source)
            now_ns = time.monotonic_ns()
            if now_ns - judged_ns < _POLL_S * 1e9:
                continue
            judged_ns = now_ns
            for source in sorted(sources):
                self._take(_link(source, client.freshness(source)))
            if client.bad != bad:
                bad = client.bad
                body = {"type": "skipped", "endpoint": client.endpoint, "count": bad}
                self._take(Item(("skipped", client.endpoint), msgspec.json.encode(body).decode(), lasting=True))

    def _item(self, message: Message, body: bytes) -> Item:
        kind = "event" if isinstance(message, Event) else "status" if isinstance(message, Status) else "faces"
        transit_ms = "null"
        if message.boot_id == self._boot:
            transit_ms = f"{max(0, time.monotonic_ns() - message.t_publish_ns) / 1e6:.1f}"
        data = f'{{"type":"{kind}","transit_ms":{transit_ms},"body":{body.decode()}}}'
        # Every event counts; of what describes a state the newest does.
        key = (kind, message.source, str(message.seq)) if kind == "event" else (kind, message.source)
        return Item(key, data, lasting=kind != "event")


def _link(source: str, report: FreshnessReport) -> Item:
    age_s = None if report.age_ms is None else round(report.age_ms / 1e3, 1)
    body = {
        "type": "link", "source": source, "alive": report.alive, "on_time": report.on_time, "age_s": age_s,
        "rate_hz": round(report.rate_hz, 1), "declared_hz": round(report.declared_hz, 1), "lost": report.lost,
    }  # fmt: skip
    return Item(("link", source), msgspec.json.encode(body).decode(), lasting=True)
