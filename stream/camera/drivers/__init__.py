"""One module per kind of source, and which serves which URI. Runs in the capture process."""

from __future__ import annotations

import importlib

from stream.camera.driver import Driver
from stream.camera.frame import CameraError
from stream.camera.settings import CameraSettings
from stream.camera.uri import SourceUri

DRIVERS = {
    "v4l2": "stream.camera.drivers.v4l2:V4L2Driver",
    "http": "stream.camera.drivers.network:NetworkDriver",
    "rtsp": "stream.camera.drivers.network:NetworkDriver",
    "gst": "stream.camera.drivers.gstreamer:GStreamerDriver",
    "csi": "stream.camera.drivers.gstreamer:GStreamerDriver",
    "file": "stream.camera.drivers.file:open_file",
    "demo": "stream.camera.drivers.file:open_file",
}
"""``module:name`` of what makes the driver of each kind of URI, called with ``(uri, settings)``."""


def open_driver(uri: SourceUri, settings: CameraSettings, position: int = 0, base_ns: int = 0) -> Driver:
    """Make the driver for a URI; nothing is opened yet.

    Args:
        uri: The parsed URI.
        settings: The camera's settings.
        position: Files: continue at this frame of the file.
        base_ns: Files: media time at which that pass of the file began.

    Raises:
        CameraError: If the driver cannot be imported, or a file cannot be played.
    """
    # By name: only the driver that is used is imported, the capture process must be up in half a second.
    module, _, name = (settings.driver or DRIVERS[uri.kind]).partition(":")
    try:
        make = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise CameraError(f"the camera driver {module}:{name} cannot be imported: {error}") from error
    resumes = uri.is_file and settings.driver is None
    driver: Driver = make(uri, settings, position, base_ns) if resumes else make(uri, settings)
    return driver
