"""``dfer-stream broker``: collect the messages of several daemons on one endpoint."""

from __future__ import annotations

import argparse
import contextlib
import time
from pathlib import Path

import zmq

from engine.console import Exit
from engine.settings.arguments import count, seconds
from engine.text import say
from stream.apps.broker.relay import Relay
from stream.publish import endpoint as endpoints
from stream.publish.endpoint import EndpointError
from stream.publish.limits import SubscriberLimits
from stream.publish.publisher import Publisher
from stream.signals import SignalPolicy, Stopped
from stream.subscribe.connect import connect

KINDS = ("faces", "status", "event")
_WAIT_MS = 100
_MOST_AT_ONCE = 64
_MARK = 256


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``dfer-stream broker``."""
    parser.add_argument("upstream", nargs="+", help="endpoints of daemons, or of other brokers")
    parser.add_argument("--bind", required=True, help="where subscribers connect; TCP beyond this machine needs keys")
    parser.add_argument(
        "--with-frames", action="store_true", help="pass pictures on too, where a daemon publishes them"
    )
    parser.add_argument("--secret-key", type=Path, help="secret key of this broker, for its subscribers")
    parser.add_argument("--allowed-keys", type=Path, help="folder of the public keys of subscribers that may connect")
    parser.add_argument("--key", type=Path, help="secret key of this broker towards the daemons")
    parser.add_argument(
        "--server-key",
        type=Path,
        action="append",
        default=[],
        help="public key of the daemons; given as often as there are upstreams, each its own, in their order",
    )
    limits = SubscriberLimits()
    parser.add_argument("--max-subscribers", type=count(1024), default=limits.subscribers, help="(%(default)s)")
    parser.add_argument("--max-topics", type=count(1024), default=limits.subscriptions, help="of each (%(default)s)")
    parser.add_argument("--seconds", type=seconds, help="end after this many seconds")


def run(args: argparse.Namespace) -> int:
    """Pass messages on until stopped; ``PARTLY`` where none came."""
    upstreams = [endpoints.parse(uri).uri for uri in args.upstream]
    server_keys = _server_keys(args.server_key, args.key, len(upstreams))
    kinds = (*KINDS, "frames") if args.with_frames else KINDS
    limits = SubscriberLimits(args.max_subscribers, args.max_topics)
    relay = Relay(kinds, lambda line: say(f"dfer-stream broker: {line}"))
    until_ns = None if args.seconds is None else time.monotonic_ns() + int(args.seconds * 1e9)
    stopping: list[bool] = []
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context(io_threads=1)
    with contextlib.suppress(Stopped), contextlib.ExitStack() as stack:
        stack.callback(context.destroy, linger=0)
        signals = stack.enter_context(SignalPolicy())
        publisher = stack.enter_context(
            Publisher("broker", args.bind, args.secret_key, args.allowed_keys, args.with_frames, limits, _MARK)
        )
        topics = [f"{kind}/".encode() for kind in kinds]
        poller, names = zmq.Poller(), dict[zmq.Socket[bytes], str]()
        for uri, server_key in zip(upstreams, server_keys, strict=True):
            made = connect(context, uri, topics, args.key, server_key, mark=_MARK)
            names[made] = uri
            poller.register(made, zmq.POLLIN)
        signals.then(lambda: stopping.append(True))
        say(f"dfer-stream broker: publishing on {publisher.endpoint}")
        while not stopping and (until_ns is None or time.monotonic_ns() < until_ns):
            for ready, _ in poller.poll(_WAIT_MS):
                _drain(ready, names[ready], relay, publisher)
            publisher.serve()
    say(f"dfer-stream broker: {relay.passed} messages passed on, {relay.held_back} held back")
    return Exit.DONE if relay.passed else Exit.PARTLY


def _drain(upstream: zmq.Socket[bytes], name: str, relay: Relay, publisher: Publisher) -> None:
    """Pass on what is there, but no more of one upstream than the others can wait for."""
    for _ in range(_MOST_AT_ONCE):
        try:
            frame = upstream.recv(zmq.NOBLOCK)
        except zmq.Again:
            return
        if relay.passes(frame, name, time.monotonic_ns()):
            publisher.forward(frame)


def _server_keys(given: list[Path], key: Path | None, upstreams: int) -> list[Path | None]:
    """The public key of each upstream.

    Raises:
        EndpointError: If there are neither none, one, nor as many as upstreams.
    """
    if not given:
        if key is not None:
            raise EndpointError("--key needs the daemons' public key", "give --server-key")
        return [None] * upstreams
    if len(given) not in (1, upstreams):
        raise EndpointError(f"{len(given)} --server-key for {upstreams} upstreams", "give one, or one for each")
    return list(given * upstreams if len(given) == 1 else given)
