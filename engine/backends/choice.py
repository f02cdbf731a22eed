"""Which back end runs a model here: the best that is available, with the reason said."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Collection
from pathlib import Path

from engine.backends.protocol import Backend, BackendError
from engine.backends.runtime import MODULES, load, open_artefact
from engine.bundle.artefact import Artefact
from engine.bundle.engine_directory import EngineDirectory

NAMES = ("auto", *MODULES)
"""Names ``--backend`` takes."""

_CLASSES = {
    "tensorrt": "TensorRtBackend",
    "torch": "TorchBackend",
    "openvino": "OpenVinoBackend",
    "onnxruntime": "OnnxRuntimeBackend",
}


def open_backend(
    path: str | os.PathLike[str] | Artefact,
    backend: str = "auto",
    threads: int | None = None,
    precision: str | None = None,
    exclude: Collection[str] = (),
) -> Backend:
    """Open the model at a path on the best back end for this machine, or on a named one.

    Args:
        path: A bundle or engine directory, or an artefact that is open already.
        backend: ``auto`` or a name from :data:`NAMES`.
        threads: CPU threads for CPU back ends; all cores if not given.
        precision: What to compute in; the back end's own choice if not given.
        exclude: Back ends that ``auto`` leaves out, for example because they failed in mid-run.

    Returns:
        The back end; its ``reason`` says why it was chosen and what failed before it.

    Raises:
        BundleError: If it is damaged, or an engine directory was proven elsewhere.
        BackendError: If no back end can run it; every attempt is in the message.
    """
    model = open_artefact(path) if isinstance(path, (str, os.PathLike)) else path
    if backend not in NAMES:
        raise BackendError(f"unknown back end {backend!r}", f"known: {', '.join(NAMES)}")
    if isinstance(model, EngineDirectory):
        return _open_engine(model, backend, threads, precision, exclude)
    if backend != "auto":
        return construct(backend, model, threads, precision)
    notes: list[str] = []
    failed: list[str] = []
    for name in MODULES:
        why_not = "it failed before" if name in exclude else obstacle(name)
        if name in exclude:
            failed.append(name)
        if why_not:
            notes.append(f"not {name}: {why_not}")
            continue
        try:
            chosen = construct(name, model, threads, precision)
        except BackendError as error:
            failed.append(name)
            notes.append(f"not {name}: {error}")
            continue
        chosen.reason = f"{name}: the fastest that runs here; " + "; ".join(notes)
        chosen.degraded = bool(failed)
        return chosen
    raise BackendError(f"no back end can run {model.path}: " + "; ".join(notes))


def _open_engine(
    engine: EngineDirectory, backend: str, threads: int | None, precision: str | None, exclude: Collection[str]
) -> Backend:
    if backend not in ("auto", engine.backend) or precision not in (None, engine.precision):
        raise BackendError(
            f"{engine.path} was built for {engine.backend} in {engine.precision}, not for "
            f"{backend if backend != 'auto' else engine.backend} in {precision or engine.precision}",
            "build another one, or give the bundle",
        )
    if engine.backend in exclude:
        # Only ONNX graphs can be run by another back end; a plan cannot.
        others = [n for n in ("openvino", "onnxruntime") if n not in exclude and engine.encoder.suffix == ".onnx"]
        if not others:
            raise BackendError(f"{engine.backend} failed and {engine.path} holds nothing that another back end runs")
        chosen = construct(others[0], engine, threads, None)
        chosen.reason, chosen.degraded = f"{others[0]}: not {engine.backend}: it failed before", True
        return chosen
    chosen = construct(engine.backend, engine, threads, engine.precision)
    chosen.reason = f"{engine.backend} in {engine.precision}: the engine was built and proven for it here"
    return chosen


def first_choice(backend: str, exclude: Collection[str] = ()) -> str | None:
    """The back end that :func:`open_backend` tries first for a bundle; None where there is none."""
    if backend != "auto":
        return backend
    return next((name for name in MODULES if name not in exclude and obstacle(name) is None), None)


def obstacle(name: str, building: bool = False) -> str | None:
    """Why a back end is not worth an import here, or None.

    Args:
        name: Back end's name.
        building: Whether an engine is about to be built, so that none need be there.
    """
    if name == "tensorrt" and not building:
        return "it needs a built engine (dfer-engine build BUNDLE OUT --backend tensorrt)"
    if name in ("tensorrt", "torch") and not has_nvidia_device():
        return "no NVIDIA device"
    package = name
    if importlib.util.find_spec(package) is None:
        return f"{package} is not installed"
    return None


def has_nvidia_device() -> bool:
    """Whether the kernel shows an NVIDIA GPU, found out without loading CUDA or torch."""
    return any(Path(p).exists() for p in ("/dev/nvidia0", "/dev/nvhost-gpu", "/dev/nvmap", "/dev/dxg"))


def construct(name: str, model: Artefact, threads: int | None, precision: str | None) -> Backend:
    """Open a model on a named back end.

    Args:
        name: Back end's name.
        model: Bundle or engine directory.
        threads: CPU threads; all cores if None.
        precision: What to compute in; the back end's own choice if None.

    Raises:
        BackendError: If it cannot be loaded or refuses the model.
    """
    made: Backend = getattr(load(name), _CLASSES[name])(model, threads=threads, precision=precision)
    return made
