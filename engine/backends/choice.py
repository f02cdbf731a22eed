"""Which back end runs a model here: the best that is available, with the reason said."""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections.abc import Collection
from pathlib import Path

from engine.backends.protocol import Artefact, Backend, BackendError
from engine.bundle import Bundle

_CLASSES = {
    "tensorrt": ("engine.backends.tensorrt", "TensorRtBackend"),
    "torch": ("engine.backends.pytorch", "TorchBackend"),
    "openvino": ("engine.backends.openvino", "OpenVinoBackend"),
    "onnxruntime": ("engine.backends.onnxruntime", "OnnxRuntimeBackend"),
}
NAMES = ("auto", *_CLASSES)
"""Names ``--backend`` takes."""


def open_backend(
    path: str | os.PathLike[str] | Artefact,
    backend: str = "auto",
    threads: int | None = None,
    precision: str | None = None,
    exclude: Collection[str] = (),
) -> Backend:
    """Open the model at a path on the best back end for this machine, or on a named one.

    Args:
        path: A bundle, or an artefact that is open already.
        backend: ``auto`` or a name from :data:`NAMES`.
        threads: CPU threads for CPU back ends; all cores if not given.
        precision: What to compute in; the back end's own choice if not given.
        exclude: Back ends that ``auto`` leaves out, for example because they failed in mid-run.

    Returns:
        The back end; its ``reason`` says why it was chosen and what failed before it.

    Raises:
        BundleError: If the bundle is damaged.
        BackendError: If no back end can run it; every attempt is in the message.
    """
    model = Bundle.open(path) if isinstance(path, (str, os.PathLike)) else path
    if backend not in NAMES:
        raise BackendError(f"unknown back end {backend!r}; known: {', '.join(NAMES)}")
    if backend != "auto":
        return _construct(backend, model, threads, precision)
    notes: list[str] = []
    failed: list[str] = []
    for name in _CLASSES:
        obstacle = "it failed before" if name in exclude else _obstacle(name)
        if name in exclude:
            failed.append(name)
        if obstacle:
            notes.append(f"not {name}: {obstacle}")
            continue
        try:
            chosen = _construct(name, model, threads, precision)
        except BackendError as error:
            failed.append(name)
            notes.append(f"not {name}: {error}")
            continue
        chosen.reason = f"{name}: the fastest that runs here; " + "; ".join(notes)
        chosen.degraded = bool(failed)
        return chosen
    raise BackendError(f"no back end can run {model.path}: " + "; ".join(notes))


def _obstacle(name: str) -> str | None:
    """Why a back end is not worth an import here, or None."""
    if name == "tensorrt":
        return "it needs a built engine (dfer-engine build BUNDLE OUT --backend tensorrt)"
    if name == "torch" and not has_nvidia_device():
        return "no NVIDIA device"
    package = name
    if importlib.util.find_spec(package) is None:
        return f"{package} is not installed"
    return None


def has_nvidia_device() -> bool:
    """Whether the kernel shows an NVIDIA GPU, found out without loading CUDA or torch."""
    return any(Path(p).exists() for p in ("/dev/nvidia0", "/dev/nvhost-gpu", "/dev/nvmap", "/dev/dxg"))


def _construct(name: str, model: Artefact, threads: int | None, precision: str | None) -> Backend:
    module, kind = _CLASSES[name]
    try:
        loaded = importlib.import_module(module)
    except ImportError as error:
        raise BackendError(f"{name} cannot be loaded: {error}") from error
    made: Backend = getattr(loaded, kind)(model, threads=threads, precision=precision)
    return made
