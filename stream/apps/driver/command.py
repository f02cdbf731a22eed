"""``dfer-stream driver``: judge a driver live or from a log, and publish or print what is found."""

from __future__ import annotations

import argparse
import contextlib
import os
import time
import uuid
from collections.abc import Iterable
from pathlib import Path

from engine import settings
from engine.console import Exit
from engine.settings.arguments import count, seconds
from engine.text import printable_json, say
from stream.apps.driver.policy import DriverPolicy
from stream.apps.driver.replay import ReplayError, read_log, replay
from stream.apps.driver.settings import DriverSettings, table
from stream.apps.driver.wording import describe
from stream.publish.driver import KIND, DriverState
from stream.publish.message import Faces
from stream.publish.publisher import Publisher
from stream.publish.wire import boot_id, encode
from stream.signals import SignalPolicy, Stopped
from stream.subscribe.arguments import add_endpoint, add_keys
from stream.subscribe.client import Client

DEFAULT_BIND = "tcp://127.0.0.1:5571"
NOTHING_AFTER_S = 3.0
PREFIX = "DFER_DRIVER_"
_LIMITS = Path(__file__).parent / "limits.md"
_TICK_S = 0.1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``dfer-stream driver``."""
    add_endpoint(parser, "judge this source; the first one heard if not given")
    parser.add_argument("--bind", default=DEFAULT_BIND, help="where driver/<source> is published (%(default)s)")
    parser.add_argument("--json", action="store_true", help="print every driver message as one JSON line")
    parser.add_argument("--count", type=count(), help="end after this many driver messages")
    parser.add_argument("--seconds", type=seconds, help="end after this many seconds")
    add_keys(parser)
    parser.add_argument(
        "--replay",
        type=Path,
        metavar="FILE",
        help="judge a recording (.mcap), a log of `dfer-stream run --json`, or `score` rows",
    )
    parser.add_argument("--timeline", type=Path, metavar="PNG", help="with --replay: draw the run as a picture")
    parser.add_argument("--thresholds", action="store_true", help="print every threshold with its source, and end")
    parser.add_argument("--limits", action="store_true", help="print what this is not, and end")
    parser.add_argument("--config", metavar="FILE", help=f"TOML file of thresholds (variable {PREFIX}CONFIG)")
    settings.add_flags(parser, DriverSettings)


def run(args: argparse.Namespace) -> int:
    """Judge until stopped; ``PARTLY`` where nothing was heard."""
    file = args.config or os.environ.get(f"{PREFIX}CONFIG")
    given = settings.flags_of(args, DriverSettings)
    limits = settings.load(DriverSettings, Path(file) if file else None, os.environ, given, prefix=PREFIX).settings
    if args.thresholds:
        print(table(limits))
        return Exit.DONE
    if args.limits:
        print(_LIMITS.read_text("utf-8"), end="")
        return Exit.DONE
    if args.timeline is not None and args.replay is None:
        raise ReplayError("--timeline draws a log", "give it with --replay FILE")
    return _replay(args, limits) if args.replay is not None else _live(args, limits)


class _Teller:
    """Prints messages, as JSON or where something changed."""

    def __init__(self, as_json: bool) -> None:
        self._json, self.told = as_json, 0
        self._before: DriverState | None = None

    def tell(self, states: Iterable[DriverState]) -> list[bytes]:
        bodies = []
        for state in states:
            self.told += 1
            bodies.append(encode(state))
            line = printable_json(bodies[-1]) if self._json else describe(state, self._before)
            if line:
                print(line, flush=True)
            self._before = state
        return bodies


def _replay(args: argparse.Namespace, limits: DriverSettings) -> int:
    teller, states = _Teller(args.json), []
    messages = read_log(args.replay)
    first = next((message for message in messages if message is not None), None)
    if first is None:
        raise ReplayError(f"{args.replay}: no faces message in it", "give what `dfer-stream run --json` printed")
    name = args.source or first.source
    policy = DriverPolicy(name, str(uuid.uuid4()), first.boot_id, limits)
    for state in replay(_of(name, first, messages), policy):
        teller.tell([state])
        if args.timeline is not None:
            states.append(state)
    if args.timeline is not None and states:
        from stream.apps.driver.picture import save

        save(states, args.timeline)
    return Exit.DONE


def _of(name: str, first: Faces, rest: Iterable[Faces | None]) -> Iterable[Faces | None]:
    if first.source == name:
        yield first
    yield from (message for message in rest if message is None or message.source == name)


def _live(args: argparse.Namespace, limits: DriverSettings) -> int:
    teller, started_ns = _Teller(args.json), time.monotonic_ns()
    with (
        contextlib.suppress(Stopped),
        SignalPolicy(),
        Client(args.endpoint, "faces", args.source, key=args.key, server_key=args.server_key) as client,
    ):
        first = _first(client, args, started_ns)
        if first is None:
            return Exit.PARTLY
        policy = DriverPolicy(first.source, str(uuid.uuid4()), boot_id() or "unknown", limits)
        with Publisher(first.source, args.bind) as publisher:
            say(f"publishing {KIND}/{first.source} on {publisher.endpoint}")
            message: Faces | None = first
            bad = client.bad
            while not _over(args, teller.told, started_ns):
                now_ns = time.monotonic_ns()
                states = policy.step(None, now_ns, unreadable=True) if client.bad > bad else []
                bad = client.bad
                for body in teller.tell([*states, *policy.step(message, now_ns)]):
                    publisher.send(KIND, body)
                publisher.serve()
                heard = client.receive(_TICK_S)
                message = heard if isinstance(heard, Faces) and heard.source == first.source else None
    return Exit.DONE


def _over(args: argparse.Namespace, told: int, started_ns: int) -> bool:
    late = args.seconds is not None and time.monotonic_ns() - started_ns > args.seconds * 1e9
    return late or (args.count is not None and told >= args.count)


def _first(client: Client, args: argparse.Namespace, started_ns: int) -> Faces | None:
    """The first message, which says whose driver it is; None where the time is over before it."""
    said = False
    while not _over(args, 0, started_ns):
        heard = client.receive(_TICK_S)
        if isinstance(heard, Faces):
            return heard
        if not said and time.monotonic_ns() - started_ns > NOTHING_AFTER_S * 1e9:
            said = True
            _nothing(client)
    if not said:
        _nothing(client)
    return None


def _nothing(client: Client) -> None:
    bad = f" ({client.bad} messages of another schema were skipped: update dferstream)" if client.bad else ""
    say(f"dfer-stream driver: nothing heard on {client.endpoint}{bad}. Is `dfer-stream run` running, and does it "
        "publish there? It prints its endpoint when it starts.")  # fmt: skip
