"""From a bundle to an engine directory: prepare, prove on this device, and only then let it appear."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.backends.choice import NAMES, construct, obstacle, open_backend
from engine.backends.protocol import Backend, BackendError
from engine.backends.runtime import open_artefact, runtime_facts
from engine.build.gate import gate
from engine.build.options import PRECISIONS, BuildError, BuildOptions
from engine.bundle.bundle import MANIFEST, Bundle
from engine.bundle.engine_directory import ENGINE_MANIFEST, ONNX_FILES, EngineDirectory, adopt, write_manifest
from engine.bundle.files import file_sha256, is_vacant, staged
from engine.bundle.golden import Bounds, Golden, Parity, ParityError

_TIMED_MIN, _TIMED_MAX, _TIMED_MS = 3, 12, 1500.0
"""Timed rounds per precision, at least and at most, and the time after which fewer are enough."""


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
    say: Callable[[str], None] = lambda _: None,
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
    if not is_vacant(target, ENGINE_MANIFEST):
        raise BuildError(f"{target} exists and is no engine directory", "choose another path or remove it")
    with staged(target) as staging:
        _copy(bundle, (MANIFEST, "golden.npz", "calibration.json", "MODEL_CARD.md"), staging)
        precision = _prepare(name, bundle, staging, options, note)
        files = {file.name: file_sha256(file) for file in sorted(staging.iterdir())}
        unproven = EngineDirectory(staging, bundle.spec, bundle.sha256, name, precision or "", files=files)
        engine, parity = _prove(unproven, bundle.golden(), options, note)
        write_manifest(replace(engine, runtime=runtime_facts(name), cost=_cost(bundle)), bundle)
    built = EngineDirectory.open(target, runtime_facts)
    return Built(built, parity, (time.monotonic_ns() - started) / 1e9, tuple(notes))


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
    artefact = open_artefact(path, adopted)
    backend = open_backend(artefact, threads=threads)
    try:
        parity = gate(backend, artefact.golden(), bounds)
    finally:
        backend.close()
    if isinstance(artefact, EngineDirectory) and adopted:
        adopt(artefact, runtime_facts(artefact.backend), parity.to_dict())
    return parity


def _choose(backend: str, note: Callable[[str], None]) -> str:
    if backend not in NAMES:
        raise BuildError(f"unknown back end {backend!r}", f"known: {', '.join(NAMES)}")
    if backend != "auto":
        return backend
    for name in PRECISIONS:
        why_not = obstacle(name, building=True)
        if why_not is None:
            note(f"{name}: the fastest that runs here")
            return name
        note(f"not {name}: {why_not}")
    raise BuildError("no back end is installed here", "pip install openvino")


def _copy(bundle: Bundle, names: Iterable[str], target: Path) -> None:
    for name in names:
        if name == MANIFEST or name in bundle.files:
            shutil.copyfile(bundle.path / name, target / name)


def _prepare(
    name: str, bundle: Bundle, staging: Path, options: BuildOptions, note: Callable[[str], None]
) -> str | None:
    """Put the graphs or plans of a back end into the staging directory; return the precision if it is settled."""
    if name == "tensorrt":
        try:
            from engine.build.tensorrt_plans import build_plans
        except ImportError as error:
            raise BuildError(f"tensorrt cannot be loaded: {error}", "pip install 'dferstream[tensorrt]'") from error

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
        _copy(bundle, ("head.onnx", "head.onnx.data"), staging)
        return "int8"
    _copy(bundle, ONNX_FILES, staging)
    return options.precision


def _prove(
    unproven: EngineDirectory, golden: Golden, options: BuildOptions, note: Callable[[str], None]
) -> tuple[EngineDirectory, Parity]:
    """Run the gate; where the precision is open, take the fastest that passes."""
    name, settled = unproven.backend, unproven.precision
    candidates = (settled,) if settled else PRECISIONS[name][:2]
    passed: list[tuple[float, str, Parity]] = []
    failure: Exception | None = None
    for precision in candidates:
        candidate = replace(unproven, precision=precision)
        try:
            backend = construct(name, candidate, options.threads, precision)
        except BackendError as error:
            if settled:
                raise BuildError(error.what, error.remedy) from error
            failure = error
            continue
        try:
            parity = gate(backend, golden, options.bounds)
            cost = _encode_ms(backend, golden.crops[:1])
            passed.append((cost, precision, parity))
            note(f"{precision}: {cost:.2f} ms per unit, probabilities within {parity.max_delta:.4f} of FP32")
        except ParityError as error:
            failure = error
            note(str(error))
        finally:
            backend.close()
    if not passed:
        raise failure if isinstance(failure, ParityError) else BuildError(str(failure))
    _, chosen, parity = min(passed)
    return replace(unproven, precision=chosen, gate=parity.to_dict()), parity


def _cost(bundle: Bundle) -> dict[str, int]:
    """Kept beside the engine, because a plan or an INT8 graph no longer tells it."""
    try:
        from engine.graph.cost import encoder_cost
    except ImportError:  # onnx is not needed to run an engine
        return {}
    return asdict(encoder_cost(bundle.encoder))


def _encode_ms(backend: Backend, crops: NDArray[np.uint8]) -> float:
    times: list[float] = []
    # A unit of CLIP-Guided takes seconds on a slow CPU, and three rounds of those tell as much as twelve short ones.
    while len(times) < _TIMED_MIN or (len(times) < _TIMED_MAX and sum(times) < _TIMED_MS):
        start = time.perf_counter_ns()
        np.asarray(backend.encode(crops))
        times.append((time.perf_counter_ns() - start) / 1e6)
    return float(np.median(times))
