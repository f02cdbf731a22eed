"""Finding, following and naming the faces of one camera."""

from stream.faces.nets.models import FaceModelError
from stream.faces.result import FacesResult, TrackedFace
from stream.faces.settings import FaceSettings, FaceSettingsError
from stream.faces.tracking.tracker import FaceTracker

__all__ = ["FaceModelError", "FaceSettings", "FaceSettingsError", "FaceTracker", "FacesResult", "TrackedFace"]
