"""Files as cameras: videos, GIFs, single images, folders of images. Runs in the capture process."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from stream.camera.driver import Opened, Raw, SourceEnded
from stream.camera.drivers.jpeg import decode_jpeg, jpeg_size
from stream.camera.frame import CameraError, FrameLost
from stream.camera.paths import IMAGE_SUFFIXES, find_file, image_paths
from stream.camera.settings import CameraSettings
from stream.camera.uri import SourceUri

_FALLBACK_FPS = 25.0


class Pass(Protocol):
    """One run through a file, from its first frame to its last."""

    def opened(self) -> Opened:
        """Say what the file declares."""

    def next(self) -> tuple[NDArray[np.uint8], int] | None:
        """Give the next image and its time from the first frame, ns, strictly rising; None after the last."""

    def close(self) -> None:
        """Release the file."""


class VideoPass:
    """A video through FFMPEG."""

    def __init__(self, path: Path) -> None:
        # A playlist in disguise must not open a connection that nobody configured. FFMPEG's default for files is
        # nearly this; stated so that it rests on no default and on no variable of the caller's environment.
        os.environ["OPENCV_FFMPEG_CAPTURE_OPTIONS"] = "protocol_whitelist;file"
        self._capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
        if not self._capture.isOpened():
            self._capture.release()
            raise CameraError(f"{path} is not a video that can be read", "is it complete, and does ffprobe read it?")
        fps = float(self._capture.get(cv2.CAP_PROP_FPS))
        self._fps = fps if math.isfinite(fps) and 0 < fps <= 1000 else _FALLBACK_FPS
        self._first_ms: float | None = None
        self._last_ns = -1
        jpeg = int(self._capture.get(cv2.CAP_PROP_FOURCC)) == cv2.VideoWriter.fourcc(*"MJPG")
        self._packets = _JpegPackets(path) if jpeg else None

    def opened(self) -> Opened:
        """Say what the container declares."""
        get = self._capture.get
        frames = get(cv2.CAP_PROP_FRAME_COUNT)
        declared = int(frames) if math.isfinite(frames) and 0 < frames < 2**31 else 0
        width, height = int(get(cv2.CAP_PROP_FRAME_WIDTH)), int(get(cv2.CAP_PROP_FRAME_HEIGHT))
        return Opened(width, height, self._fps, declared)

    def next(self) -> tuple[NDArray[np.uint8], int] | None:
        """Decode the next frame; its time is the container's where that rises, else one period later."""
        good, image = self._capture.read()
        if not good or image is None:
            return None
        stamp_ms = float(self._capture.get(cv2.CAP_PROP_POS_MSEC))
        if self._packets is not None and (other := self._packets.of_other_size(stamp_ms)) is not None:
            image = other
        if self._first_ms is None:
            self._first_ms = stamp_ms if math.isfinite(stamp_ms) else 0.0
        t_ns = round((stamp_ms - self._first_ms) * 1e6) if math.isfinite(stamp_ms) else -1
        if t_ns <= self._last_ns:
            t_ns = 0 if self._last_ns < 0 else self._last_ns + round(1e9 / self._fps)
        self._last_ns = t_ns
        return np.asarray(image, np.uint8), t_ns

    def close(self) -> None:
        """Release the file."""
        self._capture.release()
        if self._packets is not None:
            self._packets.close()


class _JpegPackets:
    """The packets of a Motion JPEG beside its decoded pictures: OpenCV squashes all to the size of the first."""

    def __init__(self, path: Path) -> None:
        self._capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
        self._capture.set(cv2.CAP_PROP_FORMAT, -1)
        self._first: tuple[int, int] | None = None
        self._last_ms = -math.inf

    def of_other_size(self, stamp_ms: float) -> NDArray[np.uint8] | None:
        """Give the picture at this time where its size is not that of the first picture; else None."""
        packet: NDArray[np.uint8] | None = None
        # A packet that the decoder left out is passed over.
        while self._last_ms < stamp_ms:
            good, data = self._capture.read()
            if not good or data is None:
                return None
            packet, self._last_ms = np.asarray(data, np.uint8), float(self._capture.get(cv2.CAP_PROP_POS_MSEC))
            self._first = self._first or jpeg_size(packet.tobytes())
        if packet is None or self._last_ms != stamp_ms or jpeg_size(packet.tobytes()) in (None, self._first):
            return None
        try:
            return decode_jpeg(packet.tobytes())
        except FrameLost:
            return None

    def close(self) -> None:
        """Release the file."""
        self._capture.release()


class ImagePass:
    """Images in the order of their names, numbers by value, at a fixed rate."""

    def __init__(self, paths: list[Path], fps: float) -> None:
        self._paths = paths
        self._fps = fps
        self._next = 0
        self._first = self._decode(paths[0])

    def opened(self) -> Opened:
        """Say the size of the first image and how many there are."""
        return Opened(self._first.shape[1], self._first.shape[0], self._fps, len(self._paths))

    def next(self) -> tuple[NDArray[np.uint8], int] | None:
        """Decode the next image."""
        index = self._next
        if index == len(self._paths):
            return None
        self._next += 1
        return self._decode(self._paths[index]) if index else self._first, round(index * 1e9 / self._fps)

    def close(self) -> None:
        """Nothing is held open."""

    @staticmethod
    def _decode(path: Path) -> NDArray[np.uint8]:
        image = cv2.imread(str(path), cv2.IMREAD_COLOR)
        if image is None:
            raise CameraError(f"{path} is not an image that can be read", "remove it or convert it")
        return np.asarray(image, np.uint8)


class FileDriver:
    """Passes through one file, one after the other where it loops, on one running time line."""

    def __init__(self, name: str, start: Callable[[], Pass], loop: bool, position: int, base_ns: int) -> None:
        self._name, self._start, self._loop = name, start, loop
        self._position, self._base_ns = position, base_ns
        self._pass: Pass | None = None
        self._ahead: tuple[NDArray[np.uint8], int] | None = None
        self._opened = Opened(0, 0, 0.0)
        self._end_ns = base_ns

    def open(self) -> Opened:
        """Open the file and decode its first frame, so that a file without one is an error and not an end."""
        self._pass = self._start()
        self._opened = self._pass.opened()
        for _ in range(self._position + 1):
            self._ahead = self._pass.next()
        if self._ahead is None and self._position == 0:
            raise CameraError(f"{self._name} holds no frame that can be decoded: the file is damaged or empty")
        return self._opened

    def read(self) -> Raw:
        """Give the next frame; see ``Driver.read``."""
        assert self._pass is not None
        taken, self._ahead = self._ahead or self._pass.next(), None
        if taken is None:
            declared = self._opened.frames
            if not self._loop or self._position == 0:
                note = f" of {declared} declared: cut short?" if declared and self._position < declared else ""
                raise SourceEnded(f"{self._name} ended after {self._position} frames{note}")
            self._pass.close()
            self._base_ns, self._position = self._end_ns, 0
            self.open()
            return self.read()
        image, t_ns = taken
        raw = Raw(image, self._base_ns + t_ns, "file", position=self._position, base_ns=self._base_ns)
        self._end_ns = self._base_ns + t_ns + round(1e9 / self._opened.fps)
        self._position += 1
        return raw

    def close(self) -> None:
        """Release the file."""
        if self._pass is not None:
            self._pass.close()
            self._pass = None


def open_file(uri: SourceUri, settings: CameraSettings, position: int = 0, base_ns: int = 0) -> FileDriver:
    """Make the driver of a file or folder.

    Raises:
        CameraError: If there is nothing to play.
    """
    path = find_file(uri)
    loop = settings.loop or uri.kind == "demo"
    fps = settings.fps or _FALLBACK_FPS
    if path.is_dir():
        paths = image_paths(path)
        return FileDriver(str(path), lambda: ImagePass(paths, fps), loop, position, base_ns)
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return FileDriver(str(path), lambda: ImagePass([path], fps), loop, position, base_ns)
    return FileDriver(str(path), lambda: VideoPass(path), loop, position, base_ns)
