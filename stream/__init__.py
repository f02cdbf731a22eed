"""stream: the daemon. Camera, faces, crops, windows, scores, ZeroMQ."""

from __future__ import annotations

from typing import Any

import engine  # noqa: F401  # forbids OpenVINO's telemetry: the face nets run on OpenVINO too


def __getattr__(name: str) -> Any:
    """``__version__``, looked up on first use: importlib.metadata costs more than all that help needs."""
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import metadata

    try:
        return metadata.version("dferstream")
    except metadata.PackageNotFoundError:  # run from a source tree that is not installed
        return "0+source"
