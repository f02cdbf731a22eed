"""CURVE keys: who may listen beyond this machine.

A key is a pair of files in ZeroMQ's certificate format, as czmq and pyzmq read it: ``NAME.key_secret`` (for its owner
alone) and ``NAME.key`` (public). A publisher has one pair and a folder of the public keys it admits; a subscriber has
its own pair and the publisher's public key. Keys travel by hand; nothing here fetches one.
"""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path

import zmq.auth

from stream.publish.endpoint import EndpointError

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
        EndpointError: If the name will not do, or a file of that name exists: a key is never overwritten.
    """
    if not _NAME.fullmatch(name):
        raise EndpointError(f"key name {name!r} must be 1 to 64 letters, digits, '_' or '-'")
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    public, secret = directory / f"{name}.key", directory / f"{name}.key_secret"
    for path in (public, secret):
        if path.exists():
            raise EndpointError(f"{path} exists and is not overwritten", "choose another name, or move it away")
    text_public, text_secret = (half.decode("ascii") for half in zmq.curve_keypair())
    head = '#   ZeroMQ CURVE {} certificate, made by dfer-stream keys\n\nmetadata\ncurve\n    public-key = "{}"\n'
    _write(secret, head.format("**secret**", text_public) + f'    secret-key = "{text_secret}"\n', 0o600)
    _write(public, head.format("public", text_public), 0o644)
    return KeyFiles(public, secret)


def load_pair(path: Path) -> KeyPair:
    """Read a secret key file.

    Raises:
        EndpointError: If it cannot be read, holds no secret key, or others than owner and group may read it.
    """
    public, secret = _load(path)
    if secret is None:
        raise EndpointError(f"{path} holds no secret key", "give the .key_secret file")
    if stat.S_IMODE(path.stat().st_mode) & 0o007:
        raise EndpointError(f"{path} can be read by everyone", f"chmod 600 {path}")
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


def _load(path: Path) -> tuple[bytes, bytes | None]:
    try:
        public, secret = zmq.auth.load_certificate(path)
    except (OSError, ValueError) as error:
        raise EndpointError(f"cannot read a CURVE key from {path}: {error}") from error
    for half in (public, secret):
        if half is not None and len(half) != 40:
            raise EndpointError(f"{path} does not hold a CURVE key: it must be 40 characters of Z85")
    return public, secret


def _write(path: Path, text: str, mode: int) -> None:
    # O_EXCL with the mode from the start: the secret is never readable by others, not even for a moment.
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "w", encoding="ascii") as stream:
        stream.write(text)
