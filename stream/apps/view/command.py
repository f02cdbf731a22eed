"""``dfer-stream view``: serve a live page of one or several daemons until stopped."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import errno
import os
import signal
import subprocess
import sys
import webbrowser

from engine.console import Exit
from engine.errors import DferError
from engine.text import say
from stream.apps.view.access import Access
from stream.apps.view.demo import demo_daemon
from stream.apps.view.feed import Feed, Item, Place
from stream.publish.endpoint import local_endpoints, parse
from stream.subscribe.arguments import add_keys

NOTHING_AFTER_S = 5.0
_WATCH_S = 0.5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``dfer-stream view``."""
    parser.add_argument(
        "endpoints",
        nargs="*",
        metavar="ENDPOINT",
        help="ipc:///path or tcp://host:port, several for several cameras (default: every source of this machine)",
    )
    parser.add_argument(
        "--demo", action="store_true", help="start a daemon on the built-in clip, and end it at the end"
    )
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to serve on (default: %(default)s); beyond this machine the printed address holds a token, "
        "and nothing is encrypted: use it in a network that you trust, or behind a proxy with TLS",
    )
    parser.add_argument("--port", type=_port, default=8090, help="port, 0 for a free one (default: %(default)s)")
    parser.add_argument(
        "--name", action="append", default=[], metavar="NAME", help="a host name that the page is also reached by"
    )
    parser.add_argument("--open", action="store_true", help="open it in this machine's browser")
    add_keys(parser)


def run(args: argparse.Namespace) -> int:
    """Serve until stopped."""
    try:
        import aiohttp  # noqa: F401
    except ImportError as error:
        raise DferError("the live page needs aiohttp", "pip install 'dferstream[view]'") from error
    if args.demo and args.endpoints:
        raise DferError("--demo shows a daemon of its own", "leave the endpoints away, or --demo")
    with contextlib.ExitStack() as stack:
        daemon: subprocess.Popen[bytes] | None = None
        endpoints = args.endpoints or local_endpoints()
        if args.demo:
            endpoint, daemon = stack.enter_context(demo_daemon())
            endpoints = [endpoint]
        places = [Place(parse(endpoint).uri, args.key, args.server_key) for endpoint in endpoints]
        return asyncio.run(_serve(args, places, daemon))


async def _serve(args: argparse.Namespace, places: list[Place], daemon: subprocess.Popen[bytes] | None) -> int:
    from aiohttp import web

    from stream.apps.view.mailbox import Hub
    from stream.apps.view.server import application

    loop, hub, stop = asyncio.get_running_loop(), Hub(), asyncio.Event()
    caught: list[signal.Signals] = []

    def ending(number: signal.Signals) -> None:
        caught.append(number)
        stop.set()

    def take(item: Item) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(hub.take, item)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, ending, number)
    access = Access.to(args.host, tuple(name.lower() for name in args.name))
    app = application(hub, access, ["the built-in demo"] if daemon else [place.endpoint for place in places])
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=1.0)
    feeds: list[Feed] = []
    try:
        for place in places:
            feeds.append(Feed(place, take))
        await runner.setup()
        await _listen(web.TCPSite(runner, args.host, args.port), args)
        address = _address(args.host, runner.addresses[0][1], access.token)
        say(f"dfer-stream view: {address}  (Ctrl-C ends it)")
        if args.open and not await loop.run_in_executor(None, _open, address):
            say("dfer-stream view: no browser can be opened here: open the address above in one")
        return await _watch(stop, feeds, daemon, caught)
    finally:
        await runner.cleanup()
        for feed in feeds:
            feed.close()


async def _watch(
    stop: asyncio.Event, feeds: list[Feed], daemon: subprocess.Popen[bytes] | None, caught: list[signal.Signals]
) -> int:
    """Wait for the end; say once of each endpoint that is silent."""
    silent, waited = list(feeds), 0.0
    while not stop.is_set():
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(stop.wait(), _WATCH_S)
        waited += _WATCH_S
        if daemon is not None and daemon.poll() is not None and not caught:
            raise DferError(f"the demo's daemon ended with code {daemon.returncode}", "its own line above says why")
        silent = [feed for feed in silent if not feed.heard.is_set()]
        if daemon is None and waited >= NOTHING_AFTER_S:
            for feed in silent:
                say(
                    f"dfer-stream view: nothing heard on {feed.place.endpoint} yet. Is `dfer-stream run` running, and "
                    "does it publish there? The page goes on waiting for it."
                )
            silent = []
    if signal.SIGINT in caught:
        raise KeyboardInterrupt
    return Exit.DONE


async def _listen(site: object, args: argparse.Namespace) -> None:
    from aiohttp import web

    assert isinstance(site, web.TCPSite)
    try:
        await site.start()
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise DferError(f"port {args.port} is in use", "name another with --port, or --port 0") from error
        remedy = "an address of this machine, 127.0.0.1 or 0.0.0.0, is what --host takes"
        raise DferError(f"cannot serve on {args.host}:{args.port}: {error.strerror or error}", remedy) from error


def _open(address: str) -> bool:
    """Open a browser's window; not one of those that would take over the terminal."""
    if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return False
    return webbrowser.open(address)


def _address(host: str, port: int, token: str | None) -> str:
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}:{port}/" + (f"?token={token}" if token else "")


def _port(text: str) -> int:
    if not text.isdigit() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"a port is 0..65535, not {text!r}")
    return int(text)
