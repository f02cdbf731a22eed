"""Camera sources, read in a child process, newest frame first. Imports no OpenCV: only the child needs it."""

from stream.camera.camera import Camera, CameraStats
from stream.camera.frame import CameraError, Frame
from stream.camera.paths import demo_clip_path
from stream.camera.settings import CameraSettings
from stream.camera.uri import SourceUri, parse_uri

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
