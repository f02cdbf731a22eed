"""Network cameras, MJPEG over HTTP and RTSP, through OpenCV's FFMPEG. Runs in the capture process."""

from __future__ import annotations

import os
import time

import cv2
import numpy as np

from stream.camera.driver import Opened, Raw, SourceLost
from stream.camera.drivers.jpeg import decode_jpeg, jpeg_size
from stream.camera.drivers.redirect import own_redirect
from stream.camera.frame import FrameLost, check_size
from stream.camera.settings import CameraSettings
from stream.camera.uri import SourceUri

# nobuffer, low_delay: no read-ahead beyond the probe. A declared transport, since UDP loses slices behind
# most routers. No redirect is followed, and no playlist is a camera: both lead to hosts that nobody configured.
_OPTIONS = {
    "http": "fflags;nobuffer|flags;low_delay|max_redirects;0|format_whitelist;"
    "mpjpeg,mjpeg,jpeg_pipe,mpegts,mpeg,mpegvideo,m4v,h264,hevc,obu,ivf,flv,mov,matroska,ogg,avi,asf,nut",
    "rtsp": "rtsp_transport;tcp|fflags;nobuffer|flags;low_delay",
}

_MOTION_JPEG = cv2.VideoWriter.fourcc(*"MJPG")


class NetworkDriver:
    """A stream, drained as fast as it comes: a slow reader of FFMPEG's own queue saw frames 4 s old."""

    def __init__(self, uri: SourceUri, settings: CameraSettings) -> None:
        self._uri = uri
        self._settings = settings
        self._capture: cv2.VideoCapture | None = None
        self._packets = False

    def open(self) -> Opened:
        """Connect."""
        os.environ["OPENCV_FFMPEG_CAPTURE_OPTIONS"] = _OPTIONS[self._uri.kind]
        deadline_ns = time.monotonic_ns() + self._settings.open_timeout_ms * 1_000_000
        capture = self._connect(self._uri.target)
        # Asked only after a failure: a camera that plays starts as fast as ever.
        if not capture.isOpened() and self._uri.kind == "http":
            leads = own_redirect(self._uri.target, str(self._uri), deadline_ns)
            capture = self._connect(leads) if leads else capture
        if not capture.isOpened():
            raise SourceLost(f"{self._uri} does not answer with a video stream: check address, network and credentials")
        self._capture = capture
        size = (int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)), int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT)))
        # OpenCV squashes every later frame to the size of the first. Motion JPEG is therefore taken as packets, each of
        # which says its own size.
        jpeg = int(capture.get(cv2.CAP_PROP_FOURCC)) == _MOTION_JPEG
        self._packets = jpeg and bool(capture.set(cv2.CAP_PROP_FORMAT, -1))
        return Opened(*size, float(capture.get(cv2.CAP_PROP_FPS)))

    def read(self) -> Raw:
        """Wait for the next frame; its time is its arrival, since a camera's own clock is not ours."""
        assert self._capture is not None
        good, image = self._capture.read()
        if not good or image is None:
            raise SourceLost(f"{self._uri} gives no more frames")
        if self._packets:
            packet = image.tobytes()
            size = jpeg_size(packet)
            if size is None:
                raise FrameLost("a JPEG frame is damaged beyond decoding")
            check_size(*size)
            image = decode_jpeg(packet)
        return Raw(np.asarray(image, np.uint8), time.monotonic_ns(), "arrival")

    def _connect(self, url: str) -> cv2.VideoCapture:
        # Without the two limits a stalled stream blocks for 30 s; they are only heeded in the constructor.
        # One decoder thread: FFMPEG's frame threads each delay the picture by one frame.
        parameters = [
            cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, self._settings.open_timeout_ms,
            cv2.CAP_PROP_READ_TIMEOUT_MSEC, self._settings.read_timeout_ms,
            cv2.CAP_PROP_N_THREADS, 1,
        ]  # fmt: skip
        return cv2.VideoCapture(url, cv2.CAP_FFMPEG, parameters)

    def close(self) -> None:
        """Disconnect."""
        if self._capture is not None:
            self._capture.release()
            self._capture = None
