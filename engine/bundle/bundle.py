"""A bundle: one directory that holds everything a device needs of a model.

``bundle.json`` (format version, spec, provenance, metrics, SHA-256 of every other file), ``encoder.onnx`` and
``head.onnx`` with their weights once as external data, ``golden.npz`` (vectors that every device must
reproduce before it may serve), ``MODEL_CARD.md`` and, once calibrated, ``calibration.json``. Needs NumPy and
the standard library alone.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.bundle.artefact import Artefact
from engine.bundle.files import (
    BundleError,
    ManifestFormat,
    encode_manifest,
    file_sha256,
    is_vacant,
    read_manifest,
    staged,
    verify_file,
)
from engine.spec import ModelSpec, SpecError

MANIFEST = "bundle.json"
FORMAT = ManifestFormat(
    MANIFEST,
    "dferstream.bundle",
    1,
    frozenset(("format", "format_version", "spec", "provenance", "metrics", "files", "sha256")),
    "copy or export the bundle again",
)
REQUIRED_FILES = ("encoder.onnx", "head.onnx", "golden.npz")


@dataclass(frozen=True)
class Bundle(Artefact):
    """A bundle whose every file was checked against its hash when it was opened.

    Attributes:
        provenance: How the model came to be.
    """

    provenance: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Bundle:
        """Open a bundle and verify every hash.

        Args:
            path: The bundle's directory.

        Raises:
            BundleError: Naming the file that is missing, altered, damaged or of a newer format.
        """
        root = Path(path)
        try:
            raw = read_manifest(root, MANIFEST)
        except OSError as error:
            raise BundleError(
                f"{root} is not a bundle: cannot read {MANIFEST} ({error.strerror})",
                "give a directory that dfer-train export wrote",
            ) from error
        values = FORMAT.parse(raw, root)
        spec = read_spec(values, root)
        files: dict[str, str] = dict(values["files"])
        missing = [name for name in REQUIRED_FILES if name not in files]
        if missing:
            raise BundleError(f"{MANIFEST} of {root} does not list {', '.join(missing)}", "export the bundle again")
        for name, expected in files.items():
            verify_file(root, name, expected)
        digest = hashlib.sha256(raw).hexdigest()
        return cls(root, spec, digest, values["provenance"], metrics=values["metrics"], files=files)

    def graph(self, part: str) -> Path:
        """The ONNX graph of a part, ``encoder`` or ``head``."""
        return self.path / f"{part}.onnx"


def read_spec(values: Mapping[str, Any], root: Path) -> ModelSpec:
    """The model's spec out of the values of a ``bundle.json``.

    Raises:
        BundleError: If it is impossible.
    """
    try:
        return ModelSpec.from_dict(values["spec"])
    except SpecError as error:
        raise BundleError(f"{MANIFEST} of {root} holds an impossible spec: {error}") from error


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
    if not is_vacant(target, MANIFEST):
        raise BundleError(f"{target} exists and is not a bundle", "choose another path or remove it")
    with staged(target) as staging:
        hashes = {}
        for name, content in files.items():
            if isinstance(content, bytes):
                (staging / name).write_bytes(content)
            else:
                shutil.copyfile(content, staging / name)
            hashes[name] = file_sha256(staging / name)
        manifest = {
            "format": FORMAT.name,
            "format_version": FORMAT.newest,
            "spec": spec.to_dict(),
            "provenance": dict(provenance),
            "metrics": dict(metrics),
            "files": hashes,
        }
        (staging / MANIFEST).write_bytes(encode_manifest(manifest))
        Bundle.open(staging)
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
