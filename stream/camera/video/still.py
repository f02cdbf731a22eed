"""Still images: OpenCV's decoders, and FFmpeg's for what these do not know or do not turn (AVIF, HEIC)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stream.camera.frame import CameraError
from stream.camera.video.reader import VideoReader


def read_image(path: Path) -> NDArray[np.uint8]:
    """Read an image as ``(H, W, 3)`` uint8 RGB, upright.

    Raises:
        CameraError: If it cannot be read.
    """
    try:
        image = decode_image(path.read_bytes())
    except OSError as error:
        raise CameraError(f"{path} cannot be read: {error.strerror}") from error
    if image is None:
        raise CameraError(f"{path} is not an image that can be read", "remove it or convert it")
    return image


def decode_image(data: bytes) -> NDArray[np.uint8] | None:
    """Decode a file's bytes to ``(H, W, 3)`` uint8 RGB, grey and transparent ones too; None if it is no image."""
    if data[4:8] == b"ftyp":
        return _first_picture(data)
    import cv2

    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
    except (cv2.error, MemoryError):
        return None
    return None if image is None else np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)


def _first_picture(data: bytes) -> NDArray[np.uint8] | None:
    import tempfile

    with tempfile.NamedTemporaryFile(prefix="dfer-still-") as file:
        file.write(data)
        file.flush()
        try:
            reader = VideoReader(Path(file.name))
        except CameraError:
            return None
        try:
            picture = reader.next()
        finally:
            reader.close()
    return None if picture is None else picture.image
