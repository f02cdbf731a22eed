"""The web server: a handful of files, and a WebSocket over which each viewer gets what its mailbox holds."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from pathlib import Path

import msgspec
from aiohttp import WSMsgType, web
from aiohttp.typedefs import Handler, Middleware

from stream.apps.view.access import COOKIE, Access
from stream.apps.view.feed import Item
from stream.apps.view.mailbox import Hub, Mailbox

PAGE = Path(__file__).parent / "page"
FEED_PATH = "/feed"
_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
# What the kernel holds for a viewer that stopped reading is what it sees late when it goes on: about a second.
_SEND_BUFFER_BYTES = 128 * 1024
_HEARTBEAT_S = 20.0
_MOST_INBOUND_BYTES = 1024
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self' {feed}; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Cache-Control": "no-store",
}


def application(hub: Hub, access: Access, endpoints: list[str]) -> web.Application:
    """The page as an aiohttp application.

    Args:
        hub: Where viewers join.
        access: Who may look.
        endpoints: What is listened to, for the page to name.
    """
    hello = msgspec.json.encode({"type": "hello", "endpoints": endpoints}).decode()
    first = Item(("hello",), hello)
    files = {f"/{path.name}": path for path in sorted(PAGE.iterdir()) if path.suffix in _TYPES}
    files["/"] = files["/index.html"]
    bodies = {name: path.read_bytes() for name, path in files.items()}

    async def page(request: web.Request) -> web.StreamResponse:
        if access.token is not None and "token" in request.query:
            # The token leaves the address bar, history and screen shots for a cookie that no script reads.
            moved = web.Response(status=303, headers={"Location": "/"})
            moved.set_cookie(COOKIE, access.token, httponly=True, samesite="Strict", path="/")
            return moved
        kind = _TYPES[files[request.path].suffix]
        return web.Response(body=bodies[request.path], content_type=kind, charset="utf-8")

    async def feed(request: web.Request) -> web.StreamResponse:
        viewer = web.WebSocketResponse(heartbeat=_HEARTBEAT_S, compress=False, max_msg_size=_MOST_INBOUND_BYTES)
        await viewer.prepare(request)
        transport = request.transport
        peer: socket.socket | None = None if transport is None else transport.get_extra_info("socket")
        if peer is not None:
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
        box = hub.join(first)
        sending = asyncio.create_task(_send(viewer, box))
        try:
            # A viewer has nothing to say; reading notices that it left.
            async for message in viewer:
                if message.type is WSMsgType.ERROR:
                    break
        finally:
            hub.leave(box)
            sending.cancel()
            with contextlib.suppress(asyncio.CancelledError, ConnectionError):
                await sending
        return viewer

    app = web.Application(middlewares=[_guard(access)])
    for name in files:
        app.router.add_get(name, page)
    app.router.add_get(FEED_PATH, feed)
    return app


async def _send(viewer: web.WebSocketResponse, box: Mailbox) -> None:
    """Send what comes until the viewer is gone; each send waits until the connection took the last."""
    with contextlib.suppress(ConnectionError, RuntimeError):
        while True:
            item = await box.take()
            if isinstance(item.data, str):
                await viewer.send_str(item.data)
            else:
                await viewer.send_bytes(item.data)


def _guard(access: Access) -> Middleware:
    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        host, origin = request.headers.get("Host"), request.headers.get("Origin")
        given = request.cookies.get(COOKIE) or (request.query.get("token") if request.path == "/" else None)
        if not access.host(host):
            refused = "This page is not served under that name. Use its address, or start it with --name NAME."
            return _secured(web.Response(status=421, text=refused), None)
        if not access.origin(origin, host):
            return _secured(web.Response(status=403, text="Another page may not ask here."), None)
        if not access.knows(given):
            refused = "Open the address that `dfer-stream view` printed: it holds the token."
            return _secured(web.Response(status=401, text=refused), None)
        try:
            return _secured(await handler(request), host)
        except web.HTTPException as error:
            return _secured(web.Response(status=error.status, text=error.reason), None)

    return guard


def _secured(response: web.StreamResponse, host: str | None) -> web.StreamResponse:
    if not response.prepared:
        response.headers.update(_HEADERS)
        feed = f"ws://{host} wss://{host}" if host else ""
        response.headers["Content-Security-Policy"] = _POLICY.format(feed=feed).replace(" ;", ";")
    return response
