"""Camera URIs: what they name, and how to print them without their credentials."""

from __future__ import annotations

import difflib
import re
import shlex
from dataclasses import dataclass
from urllib.parse import quote, unquote

from stream.camera.frame import CameraError

KINDS = {
    "v4l2": "v4l2", "file": "file", "http": "http", "https": "http", "rtsp": "rtsp", "rtsps": "rtsp",
    "gst": "gst", "csi": "csi", "demo": "demo",
}  # fmt: skip
_SCHEME = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]*)://(.*)$", re.DOTALL)
_ELEMENT = re.compile(r"[A-Za-z][A-Za-z0-9_-]*\Z")


@dataclass(frozen=True)
class SourceUri:
    """A parsed camera URI. ``str``, ``repr`` and ``format`` give the redacted form.

    Attributes:
        kind: ``v4l2``, ``file``, ``http``, ``rtsp``, ``gst``, ``csi`` or ``demo``.
        target: Device path, file path, URL with normalised credentials, GStreamer pipeline or sensor number.
            Secret.
        display: The redacted URI; safe to print and publish.
        secrets: Every spelling of the credentials, longest first.
    """

    kind: str
    target: str
    display: str
    secrets: tuple[str, ...] = ()

    @property
    def is_file(self) -> bool:
        """Whether frames come from a file, at the file's own times."""
        return self.kind in ("file", "demo")

    @property
    def can_freeze(self) -> bool:
        """Whether bit-identical frames mean a fault: true for sensors, whose noise never repeats."""
        return self.kind in ("v4l2", "csi", "http", "rtsp")

    def scrub(self, text: str) -> str:
        """Take this URI's target and credentials, in every spelling, out of foreign text."""
        if self.kind in ("http", "rtsp", "gst"):
            text = text.replace(self.target, self.display)
        for secret in self.secrets:
            text = text.replace(secret, "***")
        return text

    def __str__(self) -> str:
        return self.display

    __repr__ = __str__


def parse_uri(text: str) -> SourceUri:
    """Parse a camera URI.

    Args:
        text: ``v4l2:///dev/video0`` (also ``/dev/video0`` and ``0``), ``file:///path`` (also a bare path),
            ``http(s)://``, ``rtsp(s)://``, ``gst://<pipeline>``, ``csi://<sensor>`` or ``demo://``.

    Raises:
        CameraError: If the scheme is unknown or the target is missing. The message holds no credentials.
    """
    text = text.strip()
    if not text or "\0" in text:
        raise CameraError("no camera was named", "give a URI such as v4l2:///dev/video0, a video file, or demo://")
    match = _SCHEME.match(text)
    if not match:
        if text.isascii() and text.isdigit():
            return _device(f"/dev/video{int(text)}")
        if text.startswith("/dev/"):
            return _device(text)
        return SourceUri("file", text, text)
    scheme, rest = match.group(1).lower(), match.group(2)
    kind = KINDS.get(scheme)
    if kind is None:
        near = difflib.get_close_matches(scheme, KINDS, 1)
        hint = f"did you mean {near[0]}://? " if near else ""
        known = ", ".join(f"{name}://" for name in KINDS)
        raise CameraError(f"unknown camera scheme {scheme}://", f"{hint}known are {known}")
    if kind == "demo":
        return SourceUri("demo", "", "demo://")
    if not rest:
        raise CameraError(f"{scheme}:// names no source", "see dfer-stream devices")
    if kind == "v4l2":
        path = unquote(rest)
        return _device(f"/dev/video{int(path)}" if path.isascii() and path.isdigit() else path)
    if kind == "file":
        return SourceUri("file", unquote(rest), f"file://{rest}")
    if kind == "csi":
        if not (rest.isascii() and rest.isdigit()):
            raise CameraError("csi:// takes a sensor number, such as csi://0")
        return SourceUri("csi", str(int(rest)), f"csi://{int(rest)}")
    if kind == "gst":
        return SourceUri("gst", rest, f"gst://{_redact_pipeline(rest)}", _pipeline_secrets(rest))
    return _network(kind, scheme, rest)


def _device(path: str) -> SourceUri:
    return SourceUri("v4l2", path, f"v4l2://{path}")


def _network(kind: str, scheme: str, rest: str) -> SourceUri:
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    if authority.endswith("@") and "@" in rest[len(authority) :]:
        # A password pasted as it is, with '@/' in it: the host stands after the last '@'.
        authority = rest[: rest.rindex("@") + 1] + re.split(r"[/?#]", rest.rpartition("@")[2], maxsplit=1)[0]
    tail = rest[len(authority) :]
    secrets: list[str] = []
    userinfo, at, host = authority.rpartition("@")
    if at:
        # Users paste passwords as they are: '@', ':' and '%' that are no escapes become escapes, once.
        user, colon, password = userinfo.partition(":")
        parts = [unquote(user), unquote(password)]
        encoded = quote(parts[0], safe="") + (":" + quote(parts[1], safe="") if colon else "")
        secrets += [userinfo, user, password, *parts, *(quote(p, safe="") for p in parts), encoded]
        authority = f"{encoded}@{host}"
    if not host:
        raise CameraError(f"{scheme}:// names no host", f"give {scheme}://host/path")
    target = f"{scheme}://{authority}{tail}"
    path, _, query = rest.partition("?")
    # Whatever stands before the last '@' may be a password with '/' or '?' in it: none of it is printed.
    # A host lost from a log line is the smaller harm.
    if "@" in rest:
        shown = "***@" + rest.rpartition("@")[2].partition("?")[0]
        secrets.append(rest.rpartition("@")[0])
    else:
        shown = path
    if query:
        shown += "?***"
        secrets += [query, *(value for _, _, value in (pair.partition("=") for pair in query.split("&")))]
    found = sorted({s for s in secrets if s}, key=len, reverse=True)
    return SourceUri(kind, target, f"{scheme}://{shown}", tuple(found))


def _redact_pipeline(pipeline: str) -> str:
    """Element names only: any property may hold a location with credentials, or a password."""
    try:
        tokens = shlex.split(pipeline)
    except ValueError:
        return "***"
    shown, first = [], True
    for token in tokens:
        if token == "!":
            shown.append("!")
            first = True
        elif first and _ELEMENT.match(token):
            shown.append(token)
            first = False
        elif shown[-1:] != ["…"]:
            shown.append("…")
            first = False
    return " ".join(shown)


def _pipeline_secrets(pipeline: str) -> tuple[str, ...]:
    try:
        tokens = shlex.split(pipeline)
    except ValueError:
        return (pipeline,)
    values = {value for _, equals, value in (token.partition("=") for token in tokens) if equals and len(value) >= 4}
    return tuple(sorted(values, key=len, reverse=True))
