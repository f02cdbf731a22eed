"""From a bundle to an engine directory: prepare, prove on this device, and only then let it appear."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np

from engine.backends import BackendError
from engine.backends.choice import NAMES, construct, obstacle
from engine.backends.protocol import Backend
from engine.build.parity import Bounds, Parity, ParityError, gate
from engine.bundle.bundle import MANIFEST, Bundle, Golden, file_sha256, replace_directory
from engine.bundle.engine_directory import (
    ENGINE_MANIFEST,
    ONNX_FILES,
    EngineDirectory,
    adopt,
    open_artefact,
    write_manifest,
)
from engine.errors import DferError

PRECISIONS = {
    "tensorrt": ("fp16", "fp32"),
    "torch": ("fp16", "bf16", "fp32"),
    "openvino": ("bf16", "fp32", "int8"),
    "onnxruntime": ("fp32",),
}
"""Precisions each back end builds in, its default first where it is not measured."""

_TIMED_MIN, _TIMED_MAX, _TIMED_MS = 3, 12, 1500.0
"""Timed rounds per precision, at least and at most, and the time after which fewer are enough."""


class BuildError(DferError):
    """An engine that cannot be built: says what to do instead."""


@dataclass(frozen=True)
class BuildOptions:
    """What a build may be told.

    Attributes:
        precision: What to compute in; the back end's default, or the faster of several, if None.
        bounds: How far from FP32 it may be.
        threads: CPU threads; all cores if None.
        crops: ``.npz`` of captured crops for INT8 ranges; the bundle's golden crops if None.
        workspace_mb: TensorRT: most memory a layer may borrow while building and running.
        faces: TensorRT: most faces in one batch.
        timing_cache: TensorRT: file that keeps timings between builds; beside nothing if None.
        hardware_compatible: TensorRT: a plan for every GPU of the same or a newer generation; :func:`verify` adopts it.
        version_compatible: TensorRT: a plan that later TensorRT releases load; :func:`verify` adopts it.
    """

    precision: str | None = None
    bounds: Bounds = field(default_factory=Bounds)
    threads: int | None = None
    crops: Path | None = None
    workspace_mb: int = 1024
    faces: int = 8
    timing_cache: Path | None = None
    hardware_compatible: bool = False
    version_compatible: bool = False


@dataclass(frozen=True)
class Built:
    """A finished build.

    Attributes:
        engine: The directory, opened and verified.
        parity: The gate's figures.
        seconds: What the build took.
        notes: Decisions on the way, one line each.
    """

    engine: EngineDirectory
    parity: Parity
    seconds: float
    notes: tuple[str, ...]


def build(
    bundle_path: str | os.PathLike[str],
    out: str | os.PathLike[str],
    backend: str = "auto",
    options: BuildOptions | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Built:
    """Build an engine directory; it appears only if the gate passes.

    Args:
        bundle_path: The bundle.
        out: Where the directory will stand; an engine directory there is replaced, anything else refused.
        backend: A name, or ``auto``: TensorRT, PyTorch on a GPU, OpenVINO, ONNX Runtime, whichever is here first.
        options: Precision, bounds and the like.
        say: Told what is being done, line by line.

    Returns:
        The directory and its figures.

    Raises:
        BundleError: If the bundle is damaged.
        BuildError: If the back end or precision is not to be had here.
        ParityError: If the result is too far from FP32; nothing is left behind.
    """
    started = time.monotonic_ns()
    options = options or BuildOptions()
    bundle = Bundle.open(bundle_path)
    notes: list[str] = []

    def note(line: str) -> None:
        notes.append(line)
        say(line)

    name = _choose(backend, note)
    if options.precision is not None and options.precision not in PRECISIONS[name]:
        raise BuildError(f"{name} builds in {', '.join(PRECISIONS[name])}, not {options.precision!r}")
    target = Path(out)
    if target.exists() and not (target / ENGINE_MANIFEST).is_file() and (not target.is_dir() or any(target.iterdir())):
        raise BuildError(f"{target} exists and is no engine directory; choose another path or remove it")
    target.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        shutil.copyfile(bundle.path / MANIFEST, staging / MANIFEST)
        for extra in ("golden.npz", "calibration.json", "MODEL_CARD.md"):
            if extra in bundle.files:
                shutil.copyfile(bundle.path / extra, staging / extra)
        wanted = _prepare(name, bundle, staging, options, note)
        files = {file.name: file_sha256(file) for file in sorted(staging.iterdir())}
        staged = EngineDirectory(staging, bundle.spec, bundle.sha256, name, wanted or "", files=files)
        parity, precision = _prove(staged, wanted, bundle.golden(), options, note)
        write_manifest(staging, name, precision, bundle, parity.to_dict(), files, _cost(bundle))
        replace_directory(staging, target)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return Built(EngineDirectory.open(target), parity, (time.monotonic_ns() - started) / 1e9, tuple(notes))


def verify(
    path: str | os.PathLike[str],
    bounds: Bounds | None = None,
    threads: int | None = None,
    adopted: bool = False,
) -> Parity:
    """Check an engine directory or bundle and run its golden vectors here and now.

    Args:
        path: The directory.
        bounds: How far from FP32 it may be.
        threads: CPU threads; all cores if None.
        adopted: Let an engine directory that was proven elsewhere be proven here, and record it: plans built to be
            compatible with other GPUs or releases, or an engine copied from a machine of the same kind.

    Raises:
        BundleError: If a file or the manifest does not fit.
        BackendError: If it cannot be opened.
        ParityError: If it is too far from FP32.
    """
    from engine.backends import open_backend

    artefact = EngineDirectory.open(path, proven_here=False) if adopted else open_artefact(path)
    backend = open_backend(artefact, threads=threads)
    try:
        parity = gate(backend, artefact.golden(), bounds)
    finally:
        backend.close()
    if isinstance(artefact, EngineDirectory) and adopted:
        adopt(artefact, parity.to_dict())
    return parity


def _choose(backend: str, note: Callable[[str], None]) -> str:
    if backend not in NAMES:
        raise BuildError(f"unknown back end {backend!r}; known: {', '.join(NAMES)}")
    if backend != "auto":
        return backend
    for name in PRECISIONS:
        hindrance = obstacle(name, building=True)
        if hindrance is None:
            note(f"{name}: the fastest that runs here")
            return name
        note(f"not {name}: {hindrance}")
    raise BuildError("no back end is installed here: pip install openvino")


def _prepare(
    name: str, bundle: Bundle, staging: Path, options: BuildOptions, note: Callable[[str], None]
) -> str | None:
    """Put the graphs or plans of a back end into the staging directory; return the precision if it is settled."""
    if name == "tensorrt":
        from engine.backends.tensorrt import build_plans

        precision = options.precision or "fp16"
        build_plans(bundle, staging, precision, options, note)
        return precision
    if options.precision == "int8":
        from engine.build.quantise import quantise

        with tempfile.TemporaryDirectory(dir=staging.parent) as folder:
            note(quantise(bundle, Path(folder), options.crops))
            for file in Path(folder).iterdir():
                shutil.move(file, staging / file.name)
        note("encoder quantised to INT8 with NNCF; head kept in FP32")
        shutil.copyfile(bundle.head, staging / "head.onnx")
        if "head.onnx.data" in bundle.files:
            shutil.copyfile(bundle.path / "head.onnx.data", staging / "head.onnx.data")
        return "int8"
    for graph in ONNX_FILES:
        if graph in bundle.files:
            shutil.copyfile(bundle.path / graph, staging / graph)
    return options.precision


def _prove(
    staged: EngineDirectory,
    precision: str | None,
    golden: Golden,
    options: BuildOptions,
    note: Callable[[str], None],
) -> tuple[Parity, str]:
    """Run the gate; where the precision is open, take the fastest that passes."""
    name = staged.backend
    candidates = (precision,) if precision else PRECISIONS[name][:2]
    passed: list[tuple[float, str, Parity]] = []
    failure: Exception | None = None
    for candidate in candidates:
        try:
            backend = construct(name, replace(staged, precision=candidate), options.threads, candidate)
        except BackendError as error:
            if precision:
                raise BuildError(str(error)) from error
            failure = error
            continue
        try:
            parity = gate(backend, golden, options.bounds)
            cost = _encode_ms(backend, golden.crops[:1])
            passed.append((cost, candidate, parity))
            note(f"{candidate}: {cost:.2f} ms per unit, probabilities within {parity.max_delta:.4f} of FP32")
        except ParityError as error:
            failure = error
            note(str(error))
        finally:
            backend.close()
    if not passed:
        raise failure if isinstance(failure, ParityError) else BuildError(str(failure))
    _, chosen, parity = min(passed)
    return parity, chosen


def _cost(bundle: Bundle) -> dict[str, int]:
    """Kept beside the engine, because a plan or an INT8 graph no longer tells it."""
    try:
        from engine.graph.cost import encoder_cost
    except ImportError:  # onnx is not needed to run an engine
        return {}
    return asdict(encoder_cost(bundle.encoder))


def _encode_ms(backend: Backend, crops: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> float:
    times: list[float] = []
    # A unit of CLIP-Guided takes seconds on a slow CPU, and three rounds of those tell as much as twelve short ones.
    while len(times) < _TIMED_MIN or (len(times) < _TIMED_MAX and sum(times) < _TIMED_MS):
        start = time.perf_counter_ns()
        np.asarray(backend.encode(crops))
        times.append((time.perf_counter_ns() - start) / 1e6)
    return float(np.median(times))
