"""What bundles and engine directories share: a manifest that pins every file, and appearing whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.errors import DferError
from engine.files import open_file, read_file

MOST_JSON_BYTES = 16 << 20
"""Most bytes of a manifest or a calibration. Those of the models here have 1 to 6 KiB."""
_PLAIN_KEYS = frozenset(("format", "format_version", "sha256", "backend", "precision"))


class BundleError(DferError):
    """A directory that may not be used: the message names the file that is wrong and says what to do."""


@dataclass(frozen=True)
class ManifestFormat:
    """The form of a manifest: canonical JSON with a hash over itself.

    Attributes:
        file: Its file's name.
        name: What it says it is.
        newest: Highest version of the format that this program reads.
        keys: Its keys, all of them.
        remedy: What to do about a damaged one.
    """

    file: str
    name: str
    newest: int
    keys: frozenset[str]
    remedy: str

    def parse(self, raw: bytes, root: Path) -> dict[str, Any]:
        """Check a manifest and give its values.

        Args:
            raw: The file's bytes.
            root: The directory, for messages.

        Raises:
            BundleError: If it was altered, or written by a newer version of the format.
        """
        where = f"{self.file} of {root}"
        try:
            values = json.loads(raw)
            canonical = encode_manifest(values) if isinstance(values, dict) else b""
        except (ValueError, RecursionError) as error:
            raise BundleError(f"{where} is damaged ({error})", self.remedy) from error
        if not isinstance(values, dict) or values.get("format") != self.name:
            raise BundleError(f"{where} is not of format {self.name!r}", self.remedy)
        version = values.get("format_version")
        if not isinstance(version, int) or version < 1:
            raise BundleError(f"{where} has no whole format_version but {version!r}", self.remedy)
        if version > self.newest:
            raise BundleError(
                f"{where} has format_version {version}, this program reads up to {self.newest}", "upgrade dferstream"
            )
        # Canonical bytes and a hash over them leave no byte of the file that could change unseen.
        if set(values) != self.keys or canonical != raw:
            raise BundleError(f"{where} was altered", self.remedy)
        for key, value in values.items():
            if key not in _PLAIN_KEYS and not isinstance(value, dict):
                raise BundleError(f"{where} holds {key} that is no table but {value!r:.40}", self.remedy)
        for name, digest in values["files"].items():
            if not (_plain(name) and isinstance(digest, str)):
                raise BundleError(f"{root} lists {name!r:.80}, which is not a plain file name", self.remedy)
        return values


def read_manifest(root: Path, name: str) -> bytes:
    """The bytes of a manifest.

    Raises:
        OSError: If it cannot be read, is no regular file, or larger than a manifest can be.
    """
    return read_file(root / name, MOST_JSON_BYTES)


def encode_manifest(values: Mapping[str, Any]) -> bytes:
    """The one way a manifest is written: sorted keys, its own hash (over all other keys) included.

    Args:
        values: The manifest's values; a ``sha256`` among them is replaced.

    Returns:
        UTF-8 JSON.
    """
    body = {key: value for key, value in values.items() if key != "sha256"}
    digest = hashlib.sha256(json.dumps(body, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
    text = json.dumps({**body, "sha256": digest}, sort_keys=True, ensure_ascii=False, indent=2)
    return (text + "\n").encode()


def verify_file(root: Path, name: str, expected: str, remedy: str = "copy it again") -> None:
    """Check one file against its hash.

    Args:
        root: The directory.
        name: The file's name.
        expected: Its hex SHA-256.
        remedy: What to do if it is another.

    Raises:
        BundleError: Naming the file that is missing or altered.
    """
    if not _plain(name):
        raise BundleError(f"{root} lists {name!r}, which is not a plain file name", remedy)
    try:
        digest = file_sha256(root / name)
    except OSError as error:
        raise BundleError(f"cannot read {name} of {root} ({error.strerror})", remedy) from error
    if digest != expected:
        raise BundleError(f"{name} of {root} was altered: its SHA-256 is not the recorded one", remedy)


def file_sha256(path: Path) -> str:
    """Hex SHA-256 of a regular file, read in pieces so that large weights never lie in memory.

    Raises:
        OSError: If it cannot be read, or is a pipe or a device, which might never end.
    """
    digest = hashlib.sha256()
    with open_file(path) as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def _plain(name: str) -> bool:
    """Whether it names a file of the directory itself, in characters that can be shown."""
    return Path(name).name == name and not name.startswith(".") and name.isprintable()


def is_vacant(target: Path, manifest: str | None = None) -> bool:
    """Whether a directory may appear at a path.

    Args:
        target: The path.
        manifest: A directory that holds a file of this name may be replaced.
    """
    if not target.exists() or (manifest is not None and (target / manifest).is_file()):
        return True
    return target.is_dir() and not any(target.iterdir())


@contextlib.contextmanager
def staged(target: Path) -> Iterator[Path]:
    """A new directory that takes its place when the block ends well; otherwise nothing of it is left.

    Args:
        target: Where it goes; what stands there is replaced.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        yield staging
        _replace(staging, target)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _replace(staging: Path, target: Path) -> None:
    """Put a finished directory in place of another one by renames alone."""
    staging.chmod(0o755)  # mkdtemp makes it private; a daemon of another user reads it
    aside = staging.with_name(staging.name + ".old")
    if target.exists():
        target.replace(aside)
    try:
        staging.replace(target)
    except BaseException:
        if aside.exists():
            aside.replace(target)
        raise
    shutil.rmtree(aside, ignore_errors=True)
