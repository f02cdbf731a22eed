"""stream: the daemon. Camera, faces, crops, windows, scores, ZeroMQ."""

from __future__ import annotations

from importlib import metadata

import engine  # noqa: F401  # forbids OpenVINO's telemetry: the face nets run on OpenVINO too

try:
    __version__ = metadata.version("dferstream")
except metadata.PackageNotFoundError:  # run from a source tree that is not installed
    __version__ = "0+source"
