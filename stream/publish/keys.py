"""CURVE keys: who may listen beyond this machine.

A key is a pair of files in ZeroMQ's certificate format, as czmq and pyzmq read it: ``NAME.key_secret`` (for its owner
alone) and ``NAME.key`` (public). A publisher has one pair and a folder of the public keys it admits; a subscriber has
its own pair and the publisher's public key. Keys travel by hand; nothing here fetches one.
"""

from __future__ import annotations

import contextlib
import re
import stat
import struct
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import zmq
from zmq.utils import z85

from engine.files import create_file, read_file
from stream.publish.endpoint import EndpointError

REREAD_NS = 250_000_000
"""Oldest that the list of admitted keys may be."""
_MOST_BYTES = 1 << 16
_HALF = re.compile(r'^\s*(public|secret)-key\s*=\s*"([^"]*)"', re.MULTILINE)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


@dataclass(frozen=True, repr=False)
class KeyPair:
    """A key pair in Z85, 40 bytes each. It has no repr, so that no log can show the secret half."""

    public: bytes
    secret: bytes


@dataclass(frozen=True)
class KeyFiles:
    """The two files of a key pair.

    Attributes:
        public: For the other side.
        secret: For this machine alone.
    """

    public: Path
    secret: Path


def generate(directory: Path, name: str) -> KeyFiles:
    """Make a key pair.

    Args:
        directory: Where to; created with mode 0700 if missing.
        name: Stem of both files.

    Returns:
        The public (mode 0644) and the secret file (mode 0600).

    Raises:
        EndpointError: If the name will not do, a file of that name exists (a key is never overwritten), or the pair
            cannot be written; nothing is left of it then.
    """
    if not _NAME.fullmatch(name):
        raise EndpointError(f"key name {name!r} must be 1 to 64 letters, digits, '_' or '-'")
    made = not directory.exists()
    public, secret = directory / f"{name}.key", directory / f"{name}.key_secret"
    for path in (public, secret):
        if path.exists():
            raise EndpointError(f"{path} exists and is not overwritten", "choose another name, or move it away")
    text_public, text_secret = (half.decode("ascii") for half in zmq.curve_keypair())
    head = '#   ZeroMQ CURVE {} certificate, made by dfer-stream keys\n\nmetadata\ncurve\n    public-key = "{}"\n'
    text = head.format("**secret**", text_public) + f'    secret-key = "{text_secret}"\n'
    written: list[Path] = []
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path, held, mode in ((secret, text, 0o600), (public, head.format("public", text_public), 0o644)):
            create_file(path, held.encode("ascii"), mode)
            written.append(path)
    except OSError as error:
        # Half a pair would be in the way of the next try.
        for half in written:
            half.unlink(missing_ok=True)
        if made:
            with contextlib.suppress(OSError):
                directory.rmdir()
        raise EndpointError(
            f"cannot write {path}: {error.strerror}", "nothing is left of it; choose another --directory"
        ) from error
    return KeyFiles(public, secret)


def load_pair(path: Path) -> KeyPair:
    """Read a secret key file.

    Raises:
        EndpointError: If it cannot be read, holds no secret key or halves of two pairs, if others than owner and group
            may read it, or others than the owner write it.
    """
    public, secret = _load(path)
    if secret is None:
        raise EndpointError(f"{path} holds no secret key", "give the .key_secret file")
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o007:
        raise EndpointError(f"{path} can be read by everyone", f"chmod 600 {path}")
    if mode & 0o020:
        raise EndpointError(f"{path} can be written by its group", f"chmod 600 {path}")
    if zmq.curve_public(secret) != public:
        raise EndpointError(
            f"the public and the secret key in {path} are of two pairs, so nobody could connect",
            "copy the file again from where dfer-stream keys made it, or make a new pair",
        )
    return KeyPair(public, secret)


def load_public(path: Path) -> bytes:
    """Read the public key, Z85, of either file of a pair.

    Raises:
        EndpointError: If it cannot be read or holds no key.
    """
    return _load(path)[0]


def load_allowed(directory: Path) -> dict[bytes, str]:
    """Read a folder of public keys: names by key, Z85.

    Raises:
        EndpointError: If there is no such folder, no ``*.key`` file in it, or a secret key among them.
    """
    if not directory.is_dir():
        raise EndpointError(
            f"there is no folder {directory} of allowed keys", "make it, or change publish.allowed_keys"
        )
    paths = sorted(directory.glob("*.key"))
    if not paths:
        raise EndpointError(
            f"{directory} holds no *.key file, so no one could listen", "copy subscribers' public keys there"
        )
    allowed: dict[bytes, str] = {}
    for path in paths:
        public, secret = _load(path)
        if secret is not None:
            raise EndpointError(f"{path} holds a secret key", f"only public keys belong in {directory}")
        allowed[public] = path.stem
    return allowed


class AllowedKeys:
    """The folder of public keys as it stands now: keys come and go while the publisher runs.

    Safe to ask from several threads.

    Args:
        directory: The folder; the first reading is strict, as :func:`load_allowed`.

    Raises:
        EndpointError: As :func:`load_allowed`.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._lock = threading.Lock()
        self._keys = frozenset(load_allowed(directory))
        self._read_ns = time.monotonic_ns()

    def now(self, oldest_ns: int = REREAD_NS) -> frozenset[bytes]:
        """The keys admitted now, Z85.

        What cannot be read admits nobody: a removed folder or a damaged file takes its keys away.

        Args:
            oldest_ns: The list is read again where it is as old as this.
        """
        with self._lock:
            now_ns = time.monotonic_ns()
            if now_ns - self._read_ns >= oldest_ns:
                self._read_ns = now_ns
                self._keys = frozenset(_readable(self._directory))
            return self._keys

    def callback(self, domain: str, key: bytes) -> bool:
        """Whether a peer is admitted, as ``zmq.auth`` asks its credentials providers."""
        del domain
        # An unknown one may have been added a moment ago, and a subscriber that was refused does not try again.
        return key in self.now() or key in self.now(0)


def _readable(directory: Path) -> Iterator[bytes]:
    try:
        paths = list(directory.glob("*.key"))
    except OSError:
        return
    for path in paths:
        try:
            public, secret = _load(path)
        except EndpointError:
            continue
        if secret is None:
            yield public


def _load(path: Path) -> tuple[bytes, bytes | None]:
    try:
        text = read_file(path, _MOST_BYTES).decode("utf-8")
    except (OSError, ValueError) as error:
        raise EndpointError(
            f"cannot read a CURVE key from {path}: {error.strerror if isinstance(error, OSError) else error}",
            "give a file that dfer-stream keys made",
        ) from error
    halves = {name: value.encode() for name, value in _HALF.findall(text)}
    if "public" not in halves:
        raise EndpointError(
            f"cannot read a CURVE key from {path}: no public-key in it", "give a file that dfer-stream keys made"
        )
    for name, half in halves.items():
        if len(half) != 40 or not _is_z85(half):
            raise EndpointError(
                f"{path} does not hold a CURVE key: its {name}-key must be 40 characters of Z85",
                "copy it again from where dfer-stream keys made it",
            )
    return halves["public"], halves.get("secret")


def _is_z85(key: bytes) -> bool:
    try:
        return len(z85.decode(key)) == 32
    except (KeyError, ValueError, struct.error):
        return False
