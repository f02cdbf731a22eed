"""V4L2 cameras through OpenCV. Runs in the capture process."""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path

import cv2
import numpy as np

from stream.camera.driver import Opened, Raw, SourceLost
from stream.camera.frame import CameraError
from stream.camera.settings import CameraSettings
from stream.camera.uri import SourceUri

_OLDEST_STAMP_NS = 2_000_000_000


class V4L2Driver:
    """A USB or built-in camera under ``/dev``."""

    def __init__(self, uri: SourceUri, settings: CameraSettings) -> None:
        self._path = uri.target
        self._settings = settings
        self._capture: cv2.VideoCapture | None = None

    def open(self) -> Opened:
        """Open the device and ask for the configured format."""
        check_device(self._path)
        # Every property is set after opening: given to the constructor, one that the driver lacks fails the
        # opening.
        capture = cv2.VideoCapture(os.path.realpath(self._path), cv2.CAP_V4L2)
        if not capture.isOpened():
            capture.release()
            raise SourceLost(f"{self._path} does not open: another program may be using it (fuser {self._path})")
        self._capture = capture
        wanted = self._settings
        # The format first: it decides which sizes and rates there are.
        if wanted.fourcc:
            capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*wanted.fourcc))
        for prop, value in (
            (cv2.CAP_PROP_FRAME_WIDTH, wanted.width),
            (cv2.CAP_PROP_FRAME_HEIGHT, wanted.height),
            (cv2.CAP_PROP_FPS, wanted.fps),
        ):
            if value is not None:
                capture.set(prop, value)
        width, height = (
            int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)),
            int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT)),
        )
        return Opened(width, height, float(capture.get(cv2.CAP_PROP_FPS)))

    def read(self) -> Raw:
        """Wait for the next frame; its time is the driver's stamp where that is on CLOCK_MONOTONIC."""
        assert self._capture is not None
        good, image = self._capture.read()
        now = time.monotonic_ns()
        # isOpened() stays true after an unplug: only read() tells.
        if not good or image is None:
            raise SourceLost(f"{self._path} gives no more frames: unplugged?")
        stamp = self._capture.get(cv2.CAP_PROP_POS_MSEC)
        t_ns = round(stamp * 1e6) if np.isfinite(stamp) else 0
        if 0 <= now - t_ns <= _OLDEST_STAMP_NS:
            return Raw(np.asarray(image, np.uint8), t_ns, "driver")
        return Raw(np.asarray(image, np.uint8), now, "arrival")

    def close(self) -> None:
        """Release the device."""
        if self._capture is not None:
            self._capture.release()
            self._capture = None


def check_device(path: str) -> None:
    """Check that a device is there and ours to open.

    Raises:
        SourceLost: If it is missing or not permitted; both may change while the daemon runs.
        CameraError: If the path is something else than a device.
    """
    try:
        mode = Path(path).stat().st_mode
    except OSError as error:
        raise SourceLost(f"{path} is not there: plug the camera in, or see dfer-stream devices") from error
    if not stat.S_ISCHR(mode):
        raise CameraError(f"{path} is not a camera device", f"for a video file give file://{path}")
    if not os.access(path, os.R_OK | os.W_OK):
        raise SourceLost(f"{path} may not be opened: add this user to the group video (usermod -aG video USER)")
