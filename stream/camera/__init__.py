"""Camera sources, read in a child process, newest frame first. Imports no OpenCV: only the child needs it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stream.camera.frame import CameraError, Frame
from stream.camera.paths import demo_clip_path
from stream.camera.settings import CameraSettings
from stream.camera.uri import SourceUri, parse_uri

if TYPE_CHECKING:
    from stream.camera.camera import Camera
    from stream.camera.stats import CameraStats

__all__ = [
    "Camera",
    "CameraError",
    "CameraSettings",
    "CameraStats",
    "Frame",
    "SourceUri",
    "demo_clip_path",
    "parse_uri",
]


def __getattr__(name: str) -> Any:
    """On first use: settings and help are read without NumPy."""
    if name not in ("Camera", "CameraStats"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from stream.camera import camera, stats

    return camera.Camera if name == "Camera" else stats.CameraStats
