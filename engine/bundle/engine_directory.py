"""An engine directory: what ``dfer-engine build`` proved on one device, and for that device alone.

``engine.json`` names back end, precision, device, versions, the ONNX graphs it came from, the gate's figures and the
SHA-256 of every file; ``bundle.json`` is the bundle's own manifest. All of it is checked before anything is
deserialised, because a plan is trusted code.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.bundle.artefact import Artefact
from engine.bundle.bundle import FORMAT as BUNDLE_FORMAT
from engine.bundle.bundle import MANIFEST, Bundle, read_spec
from engine.bundle.files import BundleError, ManifestFormat, encode_manifest, read_manifest, verify_file
from engine.files import write_bytes

ENGINE_MANIFEST = "engine.json"
FORMAT = ManifestFormat(
    ENGINE_MANIFEST,
    "dferstream.engine",
    1,
    frozenset(
        ("format", "format_version", "backend", "precision", "runtime", "onnx", "gate", "files", "cost", "sha256")
    ),
    "build it again",
)
ONNX_FILES = ("encoder.onnx", "encoder.onnx.data", "head.onnx", "head.onnx.data")
"""The files of a bundle that an engine is made from."""

_GRAPHS = ("{}.plan", "{}.xml", "{}.onnx")


@dataclass(frozen=True)
class EngineDirectory(Artefact):
    """An engine directory whose manifest fits this machine and whose every file was checked.

    Attributes:
        backend: Which back end it is for.
        precision: What it computes in.
        gate: The gate's figures.
        runtime: Device and versions it was proven on.
        cost: What one crop must at least read and multiply (``weight_bytes``, ``macs``); empty where not known.
    """

    backend: str
    precision: str
    gate: Mapping[str, Any] = field(default_factory=dict)
    runtime: Mapping[str, str] = field(default_factory=dict)
    cost: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def open(
        cls, path: str | os.PathLike[str], runtime_facts: Callable[[str], Mapping[str, str]] | None
    ) -> EngineDirectory:
        """Open an engine directory; nothing of it is deserialised before every check passed.

        Args:
            path: The directory.
            runtime_facts: Device and versions of this machine by back end's name; it must have been proven on these.
                None lets one through that was proven elsewhere: for :func:`adopt` alone.

        Raises:
            BundleError: Naming the field or file that differs, with the build command.
        """
        root = Path(path)
        values = _read(root)
        backend, precision = str(values["backend"]), str(values["precision"])
        remedy = f"build it again: dfer-engine build BUNDLE {root} --backend {backend} --precision {precision}"
        files: dict[str, str] = dict(values["files"])
        if MANIFEST not in files:
            raise BundleError(f"{ENGINE_MANIFEST} of {root} does not list {MANIFEST}", remedy)
        verify_file(root, MANIFEST, files[MANIFEST], remedy)
        raw = read_manifest(root, MANIFEST)
        bundle = BUNDLE_FORMAT.parse(raw, root)
        for name, digest in dict(values["onnx"]).items():
            if bundle["files"].get(name) != digest:
                raise BundleError(f"{root} was built from another {name} than its bundle has", remedy)
        if runtime_facts is not None:
            _check_proven(root, values["runtime"], runtime_facts(backend), remedy)
        for name, digest in files.items():
            verify_file(root, name, digest, remedy)
        return cls(
            root,
            read_spec(bundle, root),
            hashlib.sha256(raw).hexdigest(),
            backend,
            precision,
            metrics=bundle["metrics"],
            gate=values["gate"],
            runtime=values["runtime"],
            files=files,
            cost=values["cost"],
        )

    def graph(self, part: str) -> Path:
        """The plan or graph of a part, ``encoder`` or ``head``."""
        for form in _GRAPHS:
            if (name := form.format(part)) in self.files:
                return self.path / name
        raise BundleError(f"{ENGINE_MANIFEST} of {self.path} lists no graph of the {part}", "build it again")


def write_manifest(engine: EngineDirectory, bundle: Bundle) -> None:
    """Write ``engine.json`` of a directory whose files are complete.

    Args:
        engine: What the manifest says.
        bundle: What the engine was made from.
    """
    values = {
        "format": FORMAT.name,
        "format_version": FORMAT.newest,
        "backend": engine.backend,
        "precision": engine.precision,
        "runtime": dict(engine.runtime),
        "onnx": {name: bundle.files[name] for name in ONNX_FILES if name in bundle.files},
        "gate": dict(engine.gate),
        "files": dict(engine.files),
        "cost": dict(engine.cost),
    }
    (engine.path / ENGINE_MANIFEST).write_bytes(encode_manifest(values))


def adopt(engine: EngineDirectory, runtime: Mapping[str, str], gate: Mapping[str, Any]) -> None:
    """Record that a directory that was proven elsewhere has now passed the gate on this machine.

    Args:
        engine: The directory.
        runtime: Device and versions of here.
        gate: The gate's figures of here.
    """
    values = {**_read(engine.path), "runtime": dict(runtime), "gate": dict(gate)}
    write_bytes(engine.path / ENGINE_MANIFEST, encode_manifest(values))


def _read(root: Path) -> dict[str, Any]:
    try:
        raw = read_manifest(root, ENGINE_MANIFEST)
    except OSError as error:
        raise BundleError(f"cannot read {ENGINE_MANIFEST} of {root} ({error.strerror})", FORMAT.remedy) from error
    return FORMAT.parse(raw, root)


def _check_proven(root: Path, then: Mapping[str, str], now: Mapping[str, str], remedy: str) -> None:
    for key in sorted(set(now) | set(then)):
        if then.get(key) != now.get(key):
            raise BundleError(
                f"{root} was proven with {key} {then.get(key, 'nothing')}, this machine has {now.get(key, 'nothing')}",
                f"{remedy}; or, where it may run here as it is, prove it: dfer-engine verify {root} --adopt",
            )
