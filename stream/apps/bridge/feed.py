"""The side of a bridge that hears: messages of several kinds of one source, in threads of their own."""

from __future__ import annotations

import argparse
import importlib
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import ModuleType, TracebackType

from engine.errors import DferError
from engine.settings.arguments import seconds
from engine.text import say
from stream.publish.message import Event, Faces, Message
from stream.publish.wire import boot_id
from stream.subscribe.arguments import add_endpoint, add_keys
from stream.subscribe.client import Client
from stream.subscribe.freshness import Freshness

POLL_S = 0.1
NOTHING_AFTER_S = 3.0


class BridgeError(DferError):
    """A bridge that cannot be built or crossed."""


@dataclass(frozen=True)
class Heard:
    """A message and its body as it came."""

    message: Message
    body: bytes


def add_feed_arguments(parser: argparse.ArgumentParser) -> None:
    """Where from: what every bridge's command takes."""
    add_endpoint(parser, "carry this source; the first one heard if not given")
    parser.add_argument("--seconds", type=seconds, help="end after this many seconds")
    add_keys(parser)


def extra(module: str, name: str) -> ModuleType:
    """Import a library that comes with an extra.

    Args:
        module: The library's.
        name: The extra's.

    Raises:
        BridgeError: If it is not installed; with the command that installs it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise BridgeError(f"this needs {module} ({error})", f"pip install 'dferstream[{name}]'") from error


def first_source(args: argparse.Namespace, name: str) -> str | None:
    """The source to carry: the one named, else that of the first message heard.

    Args:
        args: Of :func:`add_feed_arguments`.
        name: The bridge's, for what is said while nothing is heard.

    Returns:
        None where ``--seconds`` were over before one was heard.
    """
    if args.source:
        return str(args.source)
    started_ns, said = time.monotonic_ns(), False
    with Client(args.endpoint, key=args.key, server_key=args.server_key) as client:
        while True:
            passed_s = (time.monotonic_ns() - started_ns) / 1e9
            over = args.seconds is not None and passed_s > args.seconds
            if not said and (over or passed_s > NOTHING_AFTER_S):
                said = True
                bad = f" ({client.bad} of another schema were skipped: update dferstream)" if client.bad else ""
                say(
                    f"dfer-stream bridge {name}: nothing heard on {client.endpoint}{bad}. Is `dfer-stream run` "
                    "running, and does it publish there? It prints its endpoint when it starts."
                )
            if over:
                return None
            heard = client.receive(POLL_S)
            if heard is not None:
                return heard.source


class Feed:
    """Hears one source.

    Args:
        args: Of :func:`add_feed_arguments`.
        source: Its name.
        kinds: ``"faces"``, ``"status"``, ``"event"``.
        take: Called with each message, from the thread of its kind.

    Raises:
        EndpointError: If the endpoint or a key cannot be used.
    """

    def __init__(
        self, args: argparse.Namespace, source: str, kinds: Sequence[str], take: Callable[[Heard], None]
    ) -> None:
        self._take = take
        self._stopping = threading.Event()
        self._clients = []
        self._threads: list[threading.Thread] = []
        try:
            for kind in kinds:
                self._clients.append(Client(args.endpoint, kind, source, key=args.key, server_key=args.server_key))
        except BaseException:
            self.close()
            raise
        for client, kind in zip(self._clients, kinds, strict=True):
            self._threads.append(threading.Thread(target=self._hear, args=(client,), name=f"hear-{kind}", daemon=True))
            self._threads[-1].start()

    @property
    def bad(self) -> int:
        """Frames that were no messages of this schema."""
        return sum(client.bad for client in self._clients)

    def close(self) -> None:
        """Stop hearing."""
        self._stopping.set()
        for thread in self._threads:
            thread.join()
        for client in self._clients:
            client.close()

    def __enter__(self) -> Feed:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _hear(self, client: Client) -> None:
        while not self._stopping.is_set():
            message = client.receive(POLL_S)
            if message is not None:
                self._take(Heard(message, client.body))


class Pulse:
    """Whether a source is alive, by its ``faces`` messages."""

    def __init__(self) -> None:
        self._freshness = Freshness(boot_id())

    def observe(self, message: Message) -> None:
        """Take note of a message."""
        if isinstance(message, Faces):
            self._freshness.observe(
                seq=message.seq,
                session=message.session,
                t_arrival_ns=time.monotonic_ns(),
                t_publish_ns=message.t_publish_ns,
                boot=message.boot_id,
                rate_hz=message.rate_hz,
            )

    @property
    def alive(self) -> bool:
        """Whether the newest message is younger than ten periods."""
        return self._freshness.judge(time.monotonic_ns()).alive


def kind_of(message: Message) -> str:
    """``"faces"``, ``"status"`` or ``"event"``."""
    return "faces" if isinstance(message, Faces) else "event" if isinstance(message, Event) else "status"
