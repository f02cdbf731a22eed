"""What an engine's proof depends on here, device and versions, and opening what was proven on them."""

from __future__ import annotations

import importlib
import os
import platform
from pathlib import Path
from typing import Any

from engine.backends.protocol import BackendError
from engine.bundle.artefact import Artefact
from engine.bundle.bundle import Bundle
from engine.bundle.engine_directory import ENGINE_MANIFEST, EngineDirectory
from engine.errors import missing_extra

MODULES = {
    "tensorrt": "engine.backends.tensorrt",
    "torch": "engine.backends.pytorch",
    "openvino": "engine.backends.openvino",
    "onnxruntime": "engine.backends.onnxruntime",
}
"""Module of each back end by name, the fastest first; each is imported only where it is wanted."""


def load(backend: str) -> Any:
    """The module of a back end.

    Raises:
        BackendError: If what it stands on is not installed.
    """
    try:
        return importlib.import_module(MODULES[backend])
    except ImportError as error:
        missing = missing_extra(error)
        raise BackendError(f"{backend} cannot be loaded: {error}", missing.remedy if missing else "") from error


def runtime_facts(backend: str) -> dict[str, str]:
    """What an engine's proof depends on here: device and versions, by name.

    Args:
        backend: Back end's name.

    Returns:
        For example ``{"openvino": "2026.4.1", "cpu": "Intel(R) Xeon(R)"}``.

    Raises:
        BackendError: If the back end is not installed here.
    """
    if backend in ("tensorrt", "torch"):
        facts: dict[str, str] = load(backend).runtime_facts()
        return facts
    import importlib.metadata  # e-mail and all

    try:
        return {backend: importlib.metadata.version(backend), "cpu": cpu_name()}
    except importlib.metadata.PackageNotFoundError as error:
        raise BackendError(f"{backend} is not installed here", f"pip install {backend}") from error


def cpu_name() -> str:
    """The processor's name as the system gives it."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith(("model name", "Model")):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def open_artefact(path: str | os.PathLike[str], adopted: bool = False) -> Artefact:
    """Open what stands at a path: an engine directory or a bundle.

    Args:
        path: The directory.
        adopted: Let an engine directory through that was proven elsewhere, to be proven here.

    Raises:
        BundleError: If it is neither, is damaged, or an engine directory was proven elsewhere.
        BackendError: If what an engine directory was proven with is not installed here.
    """
    if (Path(path) / ENGINE_MANIFEST).is_file():
        return EngineDirectory.open(path, None if adopted else runtime_facts)
    return Bundle.open(path)
