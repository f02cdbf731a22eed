"""Finding, following and naming the faces of one camera."""

from stream.faces.result import FacesResult, TrackedFace
from stream.faces.settings import FaceError, FaceSettings
from stream.faces.tracking.tracker import FaceTracker

__all__ = ["FaceError", "FaceSettings", "FaceTracker", "FacesResult", "TrackedFace"]
