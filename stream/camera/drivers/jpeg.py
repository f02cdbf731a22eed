"""JPEG packets: their size before anything is decoded, and their picture at that size. Runs in the capture process."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stream.camera.frame import FrameLost

_START, _END = b"\xff\xd8", b"\xff\xd9"
_NO_LENGTH = {0x01, *range(0xD0, 0xD9)}
_SIZES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
"""Markers of a frame header; the three left out are tables."""


def jpeg_size(data: bytes) -> tuple[int, int] | None:
    """Read width and height, px, from the frame header of a JPEG; None where there is none.

    Source: ITU-T T.81, B.1 and B.2.2.
    """
    at = data.find(_START)
    while at >= 0 and at + 9 < len(data):
        marker = data[at + 1]
        if data[at] != 0xFF or marker == 0xDA:
            return None
        if marker in _SIZES:
            height, width = int.from_bytes(data[at + 5 : at + 7], "big"), int.from_bytes(data[at + 7 : at + 9], "big")
            return (width, height) if width and height else None
        if marker == 0xFF:
            at += 1
        else:
            at += 2 if marker in _NO_LENGTH else 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return None


def decode_jpeg(data: bytes) -> NDArray[np.uint8]:
    """Decode a JPEG as ``(H, W, 3)`` uint8 BGR, of its own size. What a packet that broke off leaves out is grey.

    Raises:
        FrameLost: If it cannot be decoded.
    """
    import cv2

    start = data.find(_START)
    if start >= 0:
        # OpenCV refuses a picture without its end mark, and cameras leave it out.
        whole = np.frombuffer(data[start:] + _END, np.uint8)
        image = cv2.imdecode(whole, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
        if image is not None:
            return np.asarray(image, np.uint8)
    raise FrameLost("a JPEG frame is damaged beyond decoding")
