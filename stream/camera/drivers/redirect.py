"""Where an HTTP camera redirects to. FFMPEG would follow to any host; here only the camera's own is followed."""

from __future__ import annotations

import base64
import http.client
import re
import ssl
import time
from urllib.parse import SplitResult, unquote, urljoin, urlsplit

from stream.camera.driver import SourceLost

_MOST = 5
_HOST = re.compile(r"[A-Za-z0-9.:_-]{1,253}\Z")


def own_redirect(url: str, shown: str, deadline_ns: int) -> str | None:
    """Follow the redirects of an address that gave no video, within its host; nobody else is connected to.

    Args:
        url: The address, with its credentials.
        shown: The address as it may be printed.
        deadline_ns: When to give up, CLOCK_MONOTONIC ns.

    Returns:
        Where its last redirect leads, with the same credentials; None where it does not redirect or answer in time.

    Raises:
        SourceLost: If it redirects to another host, or without end.
    """
    configured, target = urlsplit(url), url
    for _ in range(_MOST):
        try:
            location = _location(urlsplit(target), deadline_ns)
        except (OSError, http.client.HTTPException, ValueError):
            return None
        if location is None:
            return None if target == url else target
        try:
            leads = urlsplit(urljoin(target, location))
            host, port = leads.hostname or "", leads.port
        except ValueError:
            raise SourceLost(f"{shown} redirects to what is no address") from None
        if leads.scheme not in ("http", "https") or host != configured.hostname:
            name = host if _HOST.match(host) else "another address"
            raise SourceLost(f"{shown} redirects to {name}, which was not configured: name that address if it is meant")
        if configured.scheme == "https" != leads.scheme:
            raise SourceLost(f"{shown} redirects from https to http: name that address if it is meant")
        user, at, _ = configured.netloc.rpartition("@")
        name = f"[{host}]" if ":" in host else host
        target = leads._replace(netloc=f"{user}{at}{name}{f':{port}' if port else ''}", fragment="").geturl()
    raise SourceLost(f"{shown} redirects without end")


def _location(url: SplitResult, deadline_ns: int) -> str | None:
    """Where one address redirects to; None where it does not."""
    answer = _ask(url, {}, deadline_ns)
    if answer.status == http.client.UNAUTHORIZED and "basic" in (answer.getheader("WWW-Authenticate") or "").lower():
        pair = f"{unquote(url.username or '')}:{unquote(url.password or '')}".encode()
        answer = _ask(url, {"Authorization": f"Basic {base64.b64encode(pair).decode()}"}, deadline_ns)
    return answer.getheader("Location") if answer.status in (301, 302, 303, 307, 308) else None


def _ask(url: SplitResult, headers: dict[str, str], deadline_ns: int) -> http.client.HTTPResponse:
    """Status and headers of one request; its body is not read."""
    left_s = (deadline_ns - time.monotonic_ns()) / 1e9
    if left_s <= 0:
        raise TimeoutError
    host = url.hostname or ""
    if url.scheme == "https":
        # As FFMPEG connects: cameras sign their own certificates. Only the redirect is read.
        context = ssl._create_unverified_context()
        connection: http.client.HTTPConnection = http.client.HTTPSConnection(
            host, url.port, timeout=left_s, context=context
        )
    else:
        connection = http.client.HTTPConnection(host, url.port, timeout=left_s)
    try:
        path = (url.path or "/") + (f"?{url.query}" if url.query else "")
        connection.request("GET", path, headers=headers)
        return connection.getresponse()
    finally:
        connection.close()
