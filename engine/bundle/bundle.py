"""A bundle: one directory that holds everything a device needs of a model.

``bundle.json`` (format version, spec, provenance, metrics, SHA-256 of every other file), ``encoder.onnx`` and
``head.onnx`` with their weights once as external data, ``golden.npz`` (vectors that every device must
reproduce before it may serve), ``MODEL_CARD.md`` and, once calibrated, ``calibration.json``. Needs NumPy and
the standard library alone.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import DferError
from engine.spec import ModelSpec, SpecError

FORMAT = "dferstream.bundle"
FORMAT_VERSION = 1
MANIFEST = "bundle.json"
REQUIRED_FILES = ("encoder.onnx", "head.onnx", "golden.npz")
_KEYS = {"format", "format_version", "spec", "provenance", "metrics", "files", "sha256"}


class BundleError(DferError):
    """A directory that is no usable bundle: the message names the file and says what to do."""


@dataclass(frozen=True)
class Golden:
    """Vectors that a correct engine reproduces, made by ONNX Runtime in FP32 from the graphs beside them.

    Attributes:
        crops: ``(n, U, S, S, 3)`` uint8 RGB units.
        features: ``(n, D)`` float32, their features.
        windows: ``(m, W)`` int32, rows of ``features``, oldest first: m windows.
        logits: ``(m, C)`` float32.
        relevance: ``(m, W*U)`` float32, raw.
        probs: ``(m, C)`` float32, softmax of the logits.
        now: ``(m, C)`` float32 logits of the newest sample, or None where the model has none.
    """

    crops: NDArray[np.uint8]
    features: NDArray[np.float32]
    windows: NDArray[np.int32]
    logits: NDArray[np.float32]
    relevance: NDArray[np.float32]
    probs: NDArray[np.float32]
    now: NDArray[np.float32] | None = None

    def save(self, path: Path) -> None:
        """Write the vectors as a NumPy archive (no pickled objects)."""
        arrays: dict[str, Any] = {k: v for k, v in self.__dict__.items() if v is not None}
        np.savez_compressed(path, **arrays)

    @classmethod
    def load(cls, path: Path) -> Golden:
        """Read the vectors back.

        Raises:
            BundleError: If the archive is damaged or an array is missing.
        """
        try:
            with np.load(path, allow_pickle=False) as archive:
                return cls(**{name: archive[name] for name in archive.files})
        except (OSError, ValueError, TypeError, zipfile.BadZipFile) as error:
            raise BundleError(f"{path.name} of {path.parent} is damaged ({error}); copy the bundle again") from error


@dataclass(frozen=True)
class Bundle:
    """A bundle whose every file was checked against its hash when it was opened.

    Attributes:
        path: The directory.
        spec: What the model expects and answers.
        sha256: Hex SHA-256 of ``bundle.json``, which pins every other file: the bundle's identity.
        provenance: How the model came to be.
        metrics: How good it was where it was measured.
        files: Hex SHA-256 by file name.
    """

    path: Path
    spec: ModelSpec
    sha256: str
    provenance: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Bundle:
        """Open a bundle and verify every hash.

        Args:
            path: The bundle's directory.

        Raises:
            BundleError: Naming the file that is missing, altered, damaged or of a newer format.
        """
        root = Path(path)
        values, digest = read_manifest(root)
        try:
            spec = ModelSpec.from_dict(values["spec"])
        except SpecError as error:
            raise BundleError(f"{MANIFEST} of {root} holds an impossible spec: {error}") from error
        files: dict[str, str] = dict(values["files"])
        missing = [name for name in REQUIRED_FILES if name not in files]
        if missing:
            raise BundleError(f"{MANIFEST} of {root} does not list {', '.join(missing)}; export the bundle again")
        for name, expected in files.items():
            verify_file(root, name, expected)
        return cls(root, spec, digest, values["provenance"], values["metrics"], files)

    @property
    def encoder(self) -> Path:
        """Path of the encoder's graph."""
        return self.path / "encoder.onnx"

    @property
    def head(self) -> Path:
        """Path of the head's graph."""
        return self.path / "head.onnx"

    def golden(self) -> Golden:
        """The golden vectors."""
        return Golden.load(self.path / "golden.npz")

    def calibration(self) -> dict[str, Any] | None:
        """What ``dfer-calibrate`` stored in the bundle, or None."""
        if "calibration.json" not in self.files:
            return None
        values: dict[str, Any] = json.loads((self.path / "calibration.json").read_text("utf-8"))
        return values


def read_manifest(root: Path) -> tuple[dict[str, Any], str]:
    """Read and check ``bundle.json`` itself.

    Args:
        root: The bundle's directory.

    Returns:
        Its values and the SHA-256 of the file.

    Raises:
        BundleError: If it is missing, altered, or written by a newer version of the format.
    """
    file = root / MANIFEST
    try:
        raw = file.read_bytes()
    except OSError as error:
        raise BundleError(
            f"{root} is not a bundle: cannot read {MANIFEST} ({error.strerror}); give a directory that "
            "dfer-train export wrote"
        ) from error
    try:
        values = json.loads(raw)
    except ValueError as error:
        raise BundleError(f"{MANIFEST} of {root} is damaged ({error}); copy the bundle again") from error
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise BundleError(f"{MANIFEST} of {root} is not of format {FORMAT!r}")
    version = values.get("format_version")
    if not isinstance(version, int) or version < 1:
        raise BundleError(f"{MANIFEST} of {root} has no whole format_version but {version!r}")
    if version > FORMAT_VERSION:
        raise BundleError(
            f"{MANIFEST} of {root} has format_version {version}; this program reads up to {FORMAT_VERSION}: "
            "upgrade dferstream"
        )
    # Canonical bytes and a hash over them leave no byte of the file that could change unseen.
    if set(values) != _KEYS or encode_manifest(values) != raw:
        raise BundleError(f"{MANIFEST} of {root} was altered; copy or export the bundle again")
    return values, hashlib.sha256(raw).hexdigest()


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


def verify_file(root: Path, name: str, expected: str) -> None:
    """Check one file against its hash.

    Raises:
        BundleError: Naming the file that is missing or altered.
    """
    if Path(name).name != name or name.startswith("."):
        raise BundleError(f"{root} lists {name!r}, which is not a plain file name")
    try:
        digest = file_sha256(root / name)
    except OSError as error:
        raise BundleError(f"cannot read {name} of {root} ({error.strerror}); copy it again") from error
    if digest != expected:
        raise BundleError(f"{name} of {root} was altered: its SHA-256 is not the recorded one; copy it again")


def file_sha256(path: Path) -> str:
    """Hex SHA-256 of a file, read in pieces so that large weights never lie in memory."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def write_bundle(
    path: str | os.PathLike[str],
    spec: ModelSpec,
    files: Mapping[str, bytes | Path],
    provenance: Mapping[str, Any],
    metrics: Mapping[str, Any],
) -> Bundle:
    """Write a bundle so that either all of it appears or nothing.

    Args:
        path: Where it will stand; an existing bundle there is replaced, anything else refused.
        spec: The model's spec.
        files: Contents, or a path to copy from, by file name.
        provenance: JSON-ready values on how the model came to be.
        metrics: JSON-ready values on how good it is.

    Returns:
        The bundle, opened and verified.

    Raises:
        BundleError: If something that is not a bundle stands at ``path``.
    """
    target = Path(path)
    if target.exists() and not (target / MANIFEST).is_file() and not _is_empty_folder(target):
        raise BundleError(f"{target} exists and is not a bundle; choose another path or remove it")
    target.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        hashes = {}
        for name, content in files.items():
            if isinstance(content, bytes):
                (staging / name).write_bytes(content)
            else:
                shutil.copyfile(content, staging / name)
            hashes[name] = file_sha256(staging / name)
        manifest = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "spec": spec.to_dict(),
            "provenance": dict(provenance),
            "metrics": dict(metrics),
            "files": hashes,
        }
        (staging / MANIFEST).write_bytes(encode_manifest(manifest))
        Bundle.open(staging)
        replace_directory(staging, target)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return Bundle.open(target)


def add_file(bundle: Bundle, name: str, content: bytes) -> Bundle:
    """Add or replace one file of a bundle, for example ``calibration.json``, its manifest included.

    Args:
        bundle: The bundle as it stands.
        name: The file's name.
        content: Its bytes.

    Returns:
        The new bundle at the same path; it has another ``sha256``.
    """
    files: dict[str, bytes | Path] = {known: bundle.path / known for known in bundle.files}
    return write_bundle(bundle.path, bundle.spec, {**files, name: content}, bundle.provenance, bundle.metrics)


def replace_directory(staging: Path, target: Path) -> None:
    """Put a finished directory in place of another one by renames alone.

    Args:
        staging: The finished directory, on the same file system.
        target: Where it goes; what stood there is removed.
    """
    staging.chmod(0o755)  # mkdtemp makes it private; a daemon of another user reads it
    aside = staging.with_name(staging.name + ".old")
    if target.exists():
        os.replace(target, aside)
    try:
        os.replace(staging, target)
    except BaseException:
        if aside.exists():
            os.replace(aside, target)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def _is_empty_folder(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())
