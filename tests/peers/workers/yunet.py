"""YuNet, the detector that OpenCV users put before a classifier of crops."""

from __future__ import annotations

from typing import Any

import cv2


class YuNet:
    """Boxes of one frame.

    Args:
        model: Path of its ONNX file.
    """

    def __init__(self, model: str) -> None:
        self._net = cv2.FaceDetectorYN.create(model, "", (320, 240), 0.7)
        self._size = (320, 240)

    def boxes(self, image: Any) -> list[tuple[int, int, int, int]]:
        """left, top, right, bottom, px, the surest first; detected at a width of 320."""
        height, width = image.shape[:2]
        shrink = 320 / width
        size = (320, round(height * shrink))
        if size != self._size:
            self._net.setInputSize(size)
            self._size = size
        _, found = self._net.detect(cv2.resize(image, size))
        boxes = []
        for x, y, w, h in [] if found is None else found[:, :4] / shrink:
            left, top = max(0, int(x)), max(0, int(y))
            boxes.append((left, top, max(left + 1, min(width, int(x + w))), max(top + 1, min(height, int(y + h)))))
        return boxes
