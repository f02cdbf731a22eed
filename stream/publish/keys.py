"""CURVE keys: who may listen beyond this machine.

A key is a pair of files in ZeroMQ's certificate format, as czmq and pyzmq read it: ``NAME.key_secret`` (for its owner
alone) and ``NAME.key`` (public). A publisher has one pair and a folder of the public keys it admits; a subscriber has
its own pair and the publisher's public key. Keys travel by hand; nothing here fetches one.
"""

from __future__ import annotations

import argparse
import os
import re
import stat
import sys
from dataclasses import dataclass
from pathlib import Path

import zmq.auth

from engine.errors import DferError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


class KeyFileError(DferError):
    """A key file that is missing, malformed or readable by everyone; the message says what to do."""


@dataclass(frozen=True, repr=False)
class KeyPair:
    """A key pair in Z85, 40 bytes each. It has no repr, so that no log can show the secret half."""

    public: bytes
    secret: bytes


def generate(directory: Path, name: str) -> tuple[Path, Path]:
    """Make a key pair.

    Args:
        directory: Where to; created with mode 0700 if missing.
        name: Stem of both files.

    Returns:
        Paths of the public (mode 0644) and the secret file (mode 0600).

    Raises:
        KeyFileError: If the name will not do, or a file of that name exists: a key is never overwritten.
    """
    if not _NAME.fullmatch(name):
        raise KeyFileError(f"key name {name!r} must be 1 to 64 letters, digits, '_' or '-'")
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    public, secret = directory / f"{name}.key", directory / f"{name}.key_secret"
    for path in (public, secret):
        if path.exists():
            raise KeyFileError(f"{path} exists and is not overwritten: choose another name, or move it away")
    text_public, text_secret = (half.decode("ascii") for half in zmq.curve_keypair())
    head = '#   ZeroMQ CURVE {} certificate, made by dfer-stream keys\n\nmetadata\ncurve\n    public-key = "{}"\n'
    _write(secret, head.format("**secret**", text_public) + f'    secret-key = "{text_secret}"\n', 0o600)
    _write(public, head.format("public", text_public), 0o644)
    return public, secret


def load_pair(path: Path) -> KeyPair:
    """Read a secret key file.

    Raises:
        KeyFileError: If it cannot be read, holds no secret key, or others than owner and group may read it.
    """
    public, secret = _load(path)
    if secret is None:
        raise KeyFileError(f"{path} holds no secret key: give the .key_secret file")
    if stat.S_IMODE(path.stat().st_mode) & 0o007:
        raise KeyFileError(f"{path} can be read by everyone: chmod 600 {path}")
    return KeyPair(public, secret)


def load_public(path: Path) -> bytes:
    """Read the public key, Z85, of either file of a pair.

    Raises:
        KeyFileError: If it cannot be read or holds no key.
    """
    return _load(path)[0]


def load_allowed(directory: Path) -> dict[bytes, str]:
    """Read a folder of public keys: names by key, Z85.

    Raises:
        KeyFileError: If there is no such folder, no ``*.key`` file in it, or a secret key among them.
    """
    if not directory.is_dir():
        raise KeyFileError(f"there is no folder {directory} of allowed keys (publish.allowed_keys)")
    paths = sorted(directory.glob("*.key"))
    if not paths:
        raise KeyFileError(
            f"{directory} holds no *.key file, so no one could listen: copy subscribers' public keys there"
        )
    allowed: dict[bytes, str] = {}
    for path in paths:
        public, secret = _load(path)
        if secret is not None:
            raise KeyFileError(f"{path} holds a secret key: only public keys belong in {directory}")
        allowed[public] = path.stem
    return allowed


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``dfer-stream keys``."""
    parser.add_argument("name", help="name of the key, for example the machine's")
    parser.add_argument(
        "--directory", type=Path, default=Path("keys"), help="folder to write to (default: %(default)s)"
    )


def run(args: argparse.Namespace) -> int:
    """``dfer-stream keys``: make a key pair and say what to do with it."""
    try:
        public, secret = generate(args.directory, args.name)
    except (KeyFileError, OSError) as error:
        print(f"dfer-stream keys: {error}", file=sys.stderr)
        return 2
    print(f"{secret}  keep on this machine (publish.secret_key, or listen --key)")
    print(f"{public}  give to the other side (a file in publish.allowed_keys, or listen --server-key)")
    return 0


def _load(path: Path) -> tuple[bytes, bytes | None]:
    try:
        public, secret = zmq.auth.load_certificate(path)
    except (OSError, ValueError) as error:
        raise KeyFileError(f"cannot read a CURVE key from {path}: {error}") from error
    for half in (public, secret):
        if half is not None and len(half) != 40:
            raise KeyFileError(f"{path} does not hold a CURVE key: it must be 40 characters of Z85")
    return public, secret


def _write(path: Path, text: str, mode: int) -> None:
    # O_EXCL with the mode from the start: the secret is never readable by others, not even for a moment.
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "w", encoding="ascii") as stream:
        stream.write(text)
