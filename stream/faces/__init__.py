"""Finding, following and naming the faces of one camera."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stream.faces.result import FacesResult, TrackedFace
from stream.faces.settings import FaceError, FaceSettings

if TYPE_CHECKING:
    from stream.faces.tracking.tracker import FaceTracker

__all__ = ["FaceError", "FaceSettings", "FaceTracker", "FacesResult", "TrackedFace"]


def __getattr__(name: str) -> Any:
    """On first use: settings and help are read without NumPy and OpenCV."""
    if name != "FaceTracker":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from stream.faces.tracking.tracker import FaceTracker

    return FaceTracker
