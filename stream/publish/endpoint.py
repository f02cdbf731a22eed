"""Where a publisher may bind: rules and file handling of endpoints, before any socket exists."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import ipaddress
import os
import re
import socket
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from engine.errors import DferError

RUNTIME_DIRECTORY = Path("/run/dferstream")
DEFAULT_TCP = "tcp://127.0.0.1:5570"
_MOST_PATH = 107  # sun_path holds 108 bytes, its closing zero included.
_LONGEST_CLAIM_NS = 5_000_000_000  # it is held for about a millisecond
_TCP = re.compile(r"tcp://(?P<host>\[[^\]]+\]|[^:/]+):(?P<port>\d+|\*)")


class EndpointError(DferError):
    """An endpoint, or a key to it, that cannot be used."""


@dataclass(frozen=True)
class Endpoint:
    """A checked endpoint.

    Attributes:
        uri: As ZeroMQ takes it.
        path: The socket's file, for ipc.
        local: Only this machine can reach it.
        host: For tcp: an address, ``*`` or an interface's name; IPv6 without brackets.
        port: For tcp; 0 for a free one.
    """

    uri: str
    path: Path | None
    local: bool
    host: str = ""
    port: int = 0


def default_endpoint(source: str, directory: Path = RUNTIME_DIRECTORY) -> str:
    """``ipc://<directory>/<source>.ipc`` where that directory is ours to write in, else :data:`DEFAULT_TCP`."""
    try:
        ours = directory.stat().st_uid == os.geteuid() and os.access(directory, os.W_OK | os.X_OK)
    except OSError:
        ours = False
    return f"ipc://{directory}/{source}.ipc" if ours else DEFAULT_TCP


def default_connect(source: str = "", directory: Path = RUNTIME_DIRECTORY) -> str:
    """Where a subscriber finds a publisher of this machine: the named or only ipc file, else :data:`DEFAULT_TCP`.

    Raises:
        EndpointError: If several sources run and none is named, or none of that name.
    """
    found = _sockets(directory)
    # One that has another name may be of a process with several sources.
    named = [path for path in found if path.stem == source] or found if source else found
    if len(named) > 1:
        names = ", ".join(path.stem for path in named)
        raise EndpointError(f"several sources run here ({names})", f"name one, for example ipc://{named[0]}")
    return f"ipc://{named[0]}" if named else DEFAULT_TCP


def local_endpoints(directory: Path = RUNTIME_DIRECTORY) -> list[str]:
    """Where all publishers of this machine are found: every ipc file, else :data:`DEFAULT_TCP`."""
    return [f"ipc://{path}" for path in _sockets(directory)] or [DEFAULT_TCP]


def socket_endpoints(directory: Path) -> set[str]:
    """The endpoint of every socket in a folder; none where it cannot be read."""
    return {f"ipc://{path}" for path in _sockets(directory)}


def _sockets(directory: Path) -> list[Path]:
    try:
        return sorted(path for path in directory.glob("*.ipc") if stat.S_ISSOCK(path.stat().st_mode))
    except OSError:
        return []


def parse(uri: str) -> Endpoint:
    """Check an endpoint's form.

    Raises:
        EndpointError: If it is neither ``ipc:///absolute/path`` nor ``tcp://host:port``.
    """
    if uri.startswith("ipc://"):
        path = Path(uri[len("ipc://") :])
        if uri.startswith("ipc://@"):
            raise EndpointError(f"{uri}: an abstract socket has no permissions, anyone here could listen", "use a path")
        if not path.is_absolute():
            raise EndpointError(f"{uri}: the path must be absolute", "as in ipc:///run/dferstream/cam0.ipc")
        if len(os.fsencode(path)) > _MOST_PATH:
            raise EndpointError(f"{uri}: the path is {len(os.fsencode(path))} bytes long, at most {_MOST_PATH} fit")
        return Endpoint(uri, path, True)
    match = _TCP.fullmatch(uri)
    if match is None:
        raise EndpointError(f"{uri} is no endpoint", "an endpoint is ipc:///absolute/path or tcp://host:port")
    if match["port"] != "*" and int(match["port"]) > 65535:
        raise EndpointError(f"{uri}: ports end at 65535")
    host = match["host"].strip("[]")
    return Endpoint(uri, None, _loopback(host), host, 0 if match["port"] == "*" else int(match["port"]))


def clear_stale(path: Path) -> None:
    """Make way for a socket file, deleting what a killed daemon left behind but never a live daemon's.

    To be called inside :func:`claimed`.

    ZeroMQ itself would delete the file unasked and so steal a live publisher's endpoint.

    Raises:
        EndpointError: If the file cannot be made, is no socket, or someone listens on it.
    """
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise EndpointError(f"no permission to create {path}", "choose another --bind, or another user")
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise EndpointError(f"{path} exists and is not a socket", "move it away, or choose another --bind")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        # Non-blocking, because a live listener with a full backlog would keep us waiting: EAGAIN also means alive.
        probe.setblocking(False)
        result = probe.connect_ex(str(path))
    if result == errno.ECONNREFUSED:
        path.unlink(missing_ok=True)
    elif result != errno.ENOENT:
        raise in_use(f"ipc://{path}")


@contextlib.contextmanager
def claimed(path: Path) -> Iterator[None]:
    """Hold the folder of a socket file while the file is looked at, deleted or made.

    Two publishers that start at the same instant would else both find a stale file, and the second would delete the
    first's new socket. The lock is the kernel's (flock(2)): it leaves nothing behind, however its holder ends.

    Raises:
        EndpointError: If the folder is missing, or somebody else holds it for seconds.
    """
    try:
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        if isinstance(error, FileNotFoundError | NotADirectoryError):
            raise EndpointError(
                f"there is no directory {path.parent} for {path.name}", "create it, or choose another --bind"
            ) from error
        raise EndpointError(f"no permission to create {path}", "choose another --bind, or another user") from error
    try:
        deadline_ns = time.monotonic_ns() + _LONGEST_CLAIM_NS
        while True:
            try:
                fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic_ns() > deadline_ns:
                    raise EndpointError(
                        f"{path.parent} is held by another process", "end it, or choose another --bind"
                    ) from None
                time.sleep(0.002)
        yield
    finally:
        os.close(folder)


def in_use(uri: str) -> EndpointError:
    """The error for an endpoint that another process has."""
    return EndpointError(
        f"{uri} is in use by another process",
        "stop it, or choose another endpoint with --bind (another source, for example: --source-name cam1 "
        "--bind tcp://127.0.0.1:5571)",
    )


def _loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False  # "*", an interface or a name: may well be reached from outside.
