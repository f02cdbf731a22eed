"""stream: the daemon. Camera, faces, crops, windows, scores, ZeroMQ."""

from __future__ import annotations

from importlib import metadata

from engine.telemetry import forbid_telemetry

# The face nets run on OpenVINO too.
forbid_telemetry()

try:
    __version__ = metadata.version("dferstream")
except metadata.PackageNotFoundError:  # run from a source tree that is not installed
    __version__ = "0+source"
