"""The listening socket of a publisher: bound where its endpoint says, never over another's, gone afterwards."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import struct
import threading
from pathlib import Path

from stream.publish import endpoint as endpoints
from stream.publish.endpoint import Endpoint, EndpointError

_BACKLOG = 128
_SIOCGIFADDR = 0x8915  # netdevice(7)
_IFREQ = struct.Struct("16s16x")


class Listening:
    """A bound socket.

    Args:
        where: The endpoint; a socket file is for owner and group (mode 0770).

    Attributes:
        socket: Listening.
        uri: The endpoint as a subscriber connects to it, with the port that was taken.

    Raises:
        EndpointError: If the endpoint is in use or cannot be bound.
    """

    def __init__(self, where: Endpoint) -> None:
        self._file: tuple[Path, tuple[int, int]] | None = None
        if where.path is not None:
            self.socket, self.uri = self._bind_file(where, where.path), where.uri
        else:
            self.socket = _bind_port(where)
            host, port = self.socket.getsockname()[:2]
            self.uri = f"tcp://[{host}]:{port}" if ":" in host else f"tcp://{host}:{port}"

    def remove(self) -> None:
        """Remove the socket's file, unless another publisher has made its own there since."""
        if self._file is not None:
            path, made = self._file
            self._file = None
            with contextlib.suppress(OSError, EndpointError), endpoints.claimed(path):
                if _identity(path) == made:
                    path.unlink()

    def _bind_file(self, where: Endpoint, path: Path) -> socket.socket:
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            with endpoints.claimed(path):
                endpoints.clear_stale(path)
                with _GROUP_UMASK:
                    made.bind(str(path))
                self._file = (path, _identity(path))
                made.listen(_BACKLOG)
        except OSError as error:
            made.close()
            raise _refused(where, error) from error
        except BaseException:
            made.close()
            raise
        return made


def _bind_port(where: Endpoint) -> socket.socket:
    family = socket.AF_INET6 if ":" in where.host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        made.bind((_address(made, where.host), where.port))
        made.listen(_BACKLOG)
    except OSError as error:
        made.close()
        raise _refused(where, error) from error
    return made


def _address(made: socket.socket, host: str) -> str:
    """The address to bind: every one for ``*``, an interface's first IPv4 address for its name."""
    if host in ("*", "localhost"):
        return "0.0.0.0" if host == "*" else "127.0.0.1"
    if ":" in host or host.replace(".", "").isdigit():
        return host
    name = host.encode()
    if len(name) > 15:
        raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))
    return socket.inet_ntoa(fcntl.ioctl(made, _SIOCGIFADDR, _IFREQ.pack(name))[20:24])


def _refused(where: Endpoint, error: OSError) -> EndpointError:
    if error.errno == errno.EADDRINUSE:
        return endpoints.in_use(where.uri)
    return EndpointError(f"cannot bind {where.uri}: {error.strerror or error}", "choose another --bind")


def _identity(path: Path) -> tuple[int, int]:
    """Tells a socket file from another one made later at the same path, whose inode may have the same number."""
    found = path.lstat()
    return found.st_ino, found.st_mtime_ns


class _GroupUmask:
    """Lets owner and group, and nobody else, connect to a socket file made meanwhile.

    The umask belongs to the whole process, so one thread at a time.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._before = 0

    def __enter__(self) -> None:
        self._lock.acquire()
        self._before = os.umask(0o007)

    def __exit__(self, *exc: object) -> None:
        os.umask(self._before)
        self._lock.release()


_GROUP_UMASK = _GroupUmask()
