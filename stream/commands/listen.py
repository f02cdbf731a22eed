"""``dfer-stream listen``: what a subscriber receives, for people or as JSON lines, with freshness judged."""

from __future__ import annotations

import argparse
import time

from engine.console import Exit
from engine.settings.arguments import count, seconds
from engine.text import printable, printable_json, say
from stream.apps.driver.wording import describe as driver_line
from stream.publish.driver import DriverState
from stream.publish.message import Event, Face, Faces, Message
from stream.subscribe.arguments import add_endpoint, add_keys
from stream.subscribe.client import Client
from stream.subscribe.freshness import FreshnessReport

NOTHING_AFTER_S = 3.0
_BAR = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``dfer-stream listen``."""
    add_endpoint(parser, "listen to this source alone")
    parser.add_argument(
        "--topic",
        choices=("faces", "status", "event", "driver"),
        default="faces",
        help="kind of message (default: %(default)s); driver needs the endpoint that `dfer-stream driver` prints",
    )
    parser.add_argument("--json", action="store_true", help="print every message body as one JSON line")
    parser.add_argument(
        "--newest", action="store_true", help="skip to the newest message when slower than the publisher"
    )
    parser.add_argument("--count", type=count(), help="end after this many messages")
    parser.add_argument("--seconds", type=seconds, help="end after this many seconds")
    add_keys(parser)


def run(args: argparse.Namespace) -> int:
    """Listen and print; ``PARTLY`` where nothing was heard."""
    with Client(args.endpoint, args.topic, args.source, args.newest, args.key, args.server_key) as client:
        return Exit.DONE if _loop(client, args) else Exit.PARTLY


def describe(message: Message) -> str:
    """One message for people: a line, and one more for each face."""
    if isinstance(message, Event):
        return printable(f"{message.source}  {message.event}" + (f"  {message.face}" if message.face else ""))
    if isinstance(message, DriverState):
        return driver_line(message, None)
    if not isinstance(message, Faces):
        rates = f"in {_hz(message.rate_in_hz)}  out {_hz(message.rate_out_hz)}  of {_hz(message.declared_hz)}"
        stages = "  ".join(f"{name} {each.p50:.1f}/{each.p99:.1f}" for name, each in message.latency_ms.items())
        trouble = "".join(f"  {word}" for word in (*message.degraded, *(f"{name} hangs" for name in message.stale)))
        return printable(
            f"{message.source}  {message.state}  camera {message.camera}  {rates}  dropped {message.dropped_total}"
            + (f"  ms p50/p99: {stages}" if stages else "")
            + trouble
            + (f"  note: {message.note}" if message.note else "")
        )
    state = "" if message.valid else f"  not valid: {message.reason}"
    total = f"  {message.latency_ms.total:.1f} ms" if message.latency_ms.total is not None else ""
    lines = [f"{message.source}  frame {message.frame_id}  seq {message.seq}{total}{state}"]
    return "\n".join(map(printable, lines + ["  " + _face(face) for face in message.faces]))


def freshness_line(verdict: FreshnessReport) -> str:
    """What a verdict means, for people."""
    if verdict.age_ms is None:
        return "nothing heard yet"
    if not verdict.alive:
        return f"not alive: the newest message is {verdict.age_ms / 1e3:.1f} s old"
    pace = "on time" if verdict.on_time else "late"
    return f"alive, {pace}: {verdict.rate_hz:.1f} of {verdict.declared_hz:.1f} messages/s, {verdict.lost} lost"


def _loop(client: Client, args: argparse.Namespace) -> int:
    """How many messages were heard."""
    start_ns = time.monotonic_ns()
    heard, said_nothing, alive, lost = 0, False, True, 0
    while args.count is None or heard < args.count:
        passed_s = (time.monotonic_ns() - start_ns) / 1e9
        left_s = float("inf") if args.seconds is None else args.seconds - passed_s
        if left_s <= 0:
            break
        message = client.receive(min(0.25, left_s))
        verdict = client.freshness()
        if message is not None:
            heard += 1
            print(printable_json(client.body) if args.json else describe(message), flush=True)
        elif not heard and not said_nothing and passed_s >= NOTHING_AFTER_S:
            said_nothing = True
            say(_nothing(client, args))
        # Events have no pace to be judged by.
        if verdict.alive != alive and verdict.age_ms is not None:
            alive = verdict.alive
            say(f"-- {freshness_line(verdict)}")
        if verdict.lost > lost:
            say(f"-- {verdict.lost - lost} messages lost on the way")
            lost = verdict.lost
    if not heard and not said_nothing:
        say(_nothing(client, args))
    elif heard and not args.json:
        verdict = client.freshness()
        judged = "" if verdict.age_ms is None else f"; {freshness_line(verdict)}"
        say(f"-- {heard} message{'s' if heard > 1 else ''}{judged}")
    return heard


def _nothing(client: Client, args: argparse.Namespace) -> str:
    source = f" from source {args.source}" if args.source else ""
    bad = f" ({client.bad} messages of another schema were skipped: update dferstream)" if client.bad else ""
    if args.key is not None:
        return (
            f"dfer-stream listen: nothing heard on {client.endpoint}{source}{bad}. Either nothing publishes there, or "
            f"the publisher does not admit this key: the public half of {args.key} must be in its "
            f"publish.allowed_keys, and {args.server_key} must be the publisher's own public key."
        )
    return (
        f"dfer-stream listen: nothing heard on {client.endpoint}{source}{bad}. Is `dfer-stream run` running, and does "
        "it publish there? It prints its endpoint when it starts; give it here, or to --bind there."
    )


def _face(face: Face) -> str:
    if not face.ready:
        return f"{face.id} {face.state}  {face.reason} {face.window.n}/{face.window.need}"
    shown = face.smoothed or face.probs or {}
    best = sorted(shown.items(), key=lambda item: -item[1])[:3]
    bars = "  ".join(f"{name} {value:.2f} {'█' * round(value * _BAR)}" for name, value in best)
    primary = " *" if face.primary else ""
    return f"{face.id}{primary} {face.state}  {face.label or 'unsure'}  {bars}"


def _hz(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}/s"
