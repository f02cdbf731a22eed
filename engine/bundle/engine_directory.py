"""An engine directory: what ``dfer-engine build`` proved on one device, and for that device alone.

``engine.json`` names back end, precision, device, versions, the ONNX graphs it came from, the gate's figures and the
SHA-256 of every file; ``bundle.json`` is the bundle's own manifest. All of it is checked before anything is
deserialised, because a plan is trusted code.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import json
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.bundle.bundle import MANIFEST, Bundle, BundleError, Golden, encode_manifest, verify_file
from engine.spec import ModelSpec, SpecError

if TYPE_CHECKING:
    from engine.backends.protocol import Artefact

FORMAT = "dferstream.engine"
FORMAT_VERSION = 1
ENGINE_MANIFEST = "engine.json"
_KEYS = {"format", "format_version", "backend", "precision", "runtime", "onnx", "gate", "files", "cost", "sha256"}
_GRAPHS = ("{}.plan", "{}.xml", "{}.onnx")
ONNX_FILES = ("encoder.onnx", "encoder.onnx.data", "head.onnx", "head.onnx.data")
"""The files of a bundle that an engine is made from."""


class EngineError(BundleError):
    """An engine directory that may not be used here: names what differs and the command that builds a new one."""


@dataclass(frozen=True)
class EngineDirectory:
    """An engine directory whose manifest fits this machine and whose every file was checked.

    Attributes:
        path: The directory.
        spec: The model's spec.
        sha256: SHA-256 of the bundle's ``bundle.json``: the model's identity.
        backend: Which back end it is for.
        precision: What it computes in.
        metrics: How good the model was where it was measured.
        gate: The gate's figures.
        runtime: Device and versions it was proven on.
        files: SHA-256 by file name; nothing else in the directory is ever read.
        cost: What one crop must at least read and multiply (``weight_bytes``, ``macs``); empty where not known.
    """

    path: Path
    spec: ModelSpec
    sha256: str
    backend: str
    precision: str
    metrics: Mapping[str, Any] = field(default_factory=dict)
    gate: Mapping[str, Any] = field(default_factory=dict)
    runtime: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    cost: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def open(cls, path: str | os.PathLike[str], proven_here: bool = True) -> EngineDirectory:
        """Open an engine directory; nothing of it is deserialised before every check passed.

        Args:
            path: The directory.
            proven_here: Whether it must have been proven on this machine. False is for :func:`adopt` alone.

        Raises:
            EngineError: Naming the field or file that differs, with the build command.
        """
        root = Path(path)
        values = _read(root)
        backend, precision = str(values["backend"]), str(values["precision"])
        remedy = f"build it again: dfer-engine build BUNDLE {root} --backend {backend} --precision {precision}"
        files: dict[str, str] = dict(values["files"])
        if MANIFEST not in files:
            raise EngineError(f"{ENGINE_MANIFEST} of {root} does not list {MANIFEST}; {remedy}")
        _verify(root, MANIFEST, files[MANIFEST], remedy)
        raw = (root / MANIFEST).read_bytes()
        bundle = json.loads(raw)
        for name, digest in dict(values["onnx"]).items():
            if bundle["files"].get(name) != digest:
                raise EngineError(f"{root} was built from another {name} than its bundle has; {remedy}")
        here = runtime_facts(backend)
        for key in sorted(set(here) | set(values["runtime"])) if proven_here else ():
            built, now = values["runtime"].get(key, "nothing"), here.get(key, "nothing")
            if built != now:
                raise EngineError(
                    f"{root} was proven with {key} {built}, this machine has {now}; {remedy}; or, where it may run "
                    f"here as it is, prove it: dfer-engine verify {root} --adopt"
                )
        for name, digest in files.items():
            _verify(root, name, digest, remedy)
        try:
            spec = ModelSpec.from_dict(bundle["spec"])
        except SpecError as error:
            raise EngineError(f"{MANIFEST} of {root} holds an impossible spec: {error}") from error
        return cls(
            root,
            spec,
            hashlib.sha256(raw).hexdigest(),
            backend,
            precision,
            metrics=bundle["metrics"],
            gate=values["gate"],
            runtime=values["runtime"],
            files=files,
            cost=values["cost"],
        )

    @property
    def encoder(self) -> Path:
        """The encoder's plan or graph."""
        return self._graph("encoder")

    @property
    def head(self) -> Path:
        """The head's plan or graph."""
        return self._graph("head")

    def golden(self) -> Golden:
        """The golden vectors."""
        return Golden.load(self.path / "golden.npz")

    def calibration(self) -> dict[str, Any] | None:
        """What ``dfer-calibrate`` had stored in the bundle, or None."""
        if "calibration.json" not in self.files:
            return None
        values: dict[str, Any] = json.loads((self.path / "calibration.json").read_text("utf-8"))
        return values

    def _graph(self, part: str) -> Path:
        for form in _GRAPHS:
            if (name := form.format(part)) in self.files:
                return self.path / name
        raise EngineError(f"{ENGINE_MANIFEST} of {self.path} lists no graph of the {part}; build it again")


def write_manifest(
    root: Path,
    backend: str,
    precision: str,
    bundle: Bundle,
    gate: Mapping[str, Any],
    files: Mapping[str, str],
    cost: Mapping[str, int],
) -> None:
    """Write ``engine.json`` of a directory whose files are complete.

    Args:
        root: The directory.
        backend: Back end's name.
        precision: What it computes in.
        bundle: What it was made from.
        gate: The gate's figures.
        files: SHA-256 by file name.
        cost: See :class:`EngineDirectory`.
    """
    values = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "backend": backend,
        "precision": precision,
        "runtime": runtime_facts(backend),
        "onnx": {name: bundle.files[name] for name in ONNX_FILES if name in bundle.files},
        "gate": dict(gate),
        "files": dict(files),
        "cost": dict(cost),
    }
    (root / ENGINE_MANIFEST).write_bytes(encode_manifest(values))


def adopt(engine: EngineDirectory, gate: Mapping[str, Any]) -> None:
    """Record that a directory that was proven elsewhere has now passed the gate on this machine.

    Args:
        engine: The directory, opened with ``proven_here=False``.
        gate: The gate's figures of here.
    """
    values = {**_read(engine.path), "runtime": runtime_facts(engine.backend), "gate": dict(gate)}
    scratch = engine.path / f".{ENGINE_MANIFEST}.new"
    scratch.write_bytes(encode_manifest(values))
    scratch.replace(engine.path / ENGINE_MANIFEST)


def runtime_facts(backend: str) -> dict[str, str]:
    """What an engine's proof depends on here: device and versions, by name.

    Args:
        backend: Back end's name.

    Returns:
        For example ``{"openvino": "2026.4.1", "cpu": "Intel(R) Xeon(R)"}``.

    Raises:
        EngineError: If the back end is not installed here.
    """
    if backend in ("tensorrt", "torch"):
        module = importlib.import_module(f"engine.backends.{'pytorch' if backend == 'torch' else 'tensorrt'}")
        facts: dict[str, str] = module.runtime_facts()
        return facts
    try:
        return {backend: importlib.metadata.version(backend), "cpu": cpu_name()}
    except importlib.metadata.PackageNotFoundError as error:
        raise EngineError(f"{backend} is not installed here: pip install {backend}") from error


def cpu_name() -> str:
    """The processor's name as the system gives it."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith(("model name", "Model")):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def open_artefact(path: str | os.PathLike[str]) -> Artefact:
    """Open what stands at a path: an engine directory or a bundle.

    Raises:
        BundleError: If it is neither, is damaged, or an engine directory was proven elsewhere.
    """
    if (Path(path) / ENGINE_MANIFEST).is_file():
        return EngineDirectory.open(path)
    return Bundle.open(path)


def _read(root: Path) -> dict[str, Any]:
    try:
        raw = (root / ENGINE_MANIFEST).read_bytes()
        values = json.loads(raw)
    except OSError as error:
        raise EngineError(f"cannot read {ENGINE_MANIFEST} of {root} ({error.strerror}); build it again") from error
    except ValueError as error:
        raise EngineError(f"{ENGINE_MANIFEST} of {root} is damaged ({error}); build it again") from error
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise EngineError(f"{ENGINE_MANIFEST} of {root} is not of format {FORMAT!r}; build it again")
    version = values.get("format_version")
    if not isinstance(version, int) or version > FORMAT_VERSION:
        raise EngineError(
            f"{ENGINE_MANIFEST} of {root} has format_version {version!r}; this program reads up to {FORMAT_VERSION}: "
            "upgrade dferstream or build it again"
        )
    if set(values) != _KEYS or encode_manifest(values) != raw:
        raise EngineError(f"{ENGINE_MANIFEST} of {root} was altered; build it again")
    return values


def _verify(root: Path, name: str, digest: str, remedy: str) -> None:
    try:
        verify_file(root, name, digest)
    except BundleError as error:
        raise EngineError(f"{str(error).removesuffix('; copy it again')}; {remedy}") from error
