"""MediaPipe's two BlazeFace detectors: anchors, decoding and weighted suppression.

Bazarevsky et al., BlazeFace: Sub-millisecond Neural Face Detection on Mobile GPUs, arXiv:1907.05047. The constants are
those of MediaPipe 0.10.14's graphs; a test holds the output against MediaPipe's own.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from stream.camera.pixels import Image
from stream.faces.nets.models import Net
from stream.faces.nets.regions import Region, whole_frame
from stream.faces.result import Box

_SUPPRESS_IOU = 0.3
# Cells per side and anchors per cell of each feature map; output names of boxes and scores.
_LAYOUT: dict[str, tuple[tuple[tuple[int, int], ...], str, str]] = {
    "short": (((16, 2), (8, 6)), "regressors", "classificators"),
    "full": (((48, 1),), "Identity", "Identity_1"),
}


@dataclass(frozen=True, eq=False)
class Detection:
    """One detected face.

    Attributes:
        box: (x, y, width, height), px.
        keypoints: ``(6, 2)`` float64 px: eye left and right in the image, nose tip, mouth centre, ear left and right.
        score: 0..1.
    """

    box: Box
    keypoints: NDArray[np.float64]
    score: float


def anchors(kind: str) -> NDArray[np.float32]:
    """Anchor centres of a detector, ``(N, 2)`` float32 in [0, 1], in the order of its output rows."""
    rows = []
    for cells, repeat in _LAYOUT[kind][0]:
        centre = (np.arange(cells, dtype=np.float32) + 0.5) / cells
        y, x = np.meshgrid(centre, centre, indexing="ij")
        rows.append(np.repeat(np.stack([x, y], -1).reshape(-1, 2), repeat, axis=0))
    return np.concatenate(rows)


def suppress(values: NDArray[np.float64], scores: NDArray[np.float64]) -> list[tuple[NDArray[np.float64], float]]:
    """Weighted non-maximum suppression: overlapping candidates are averaged by score instead of dropped.

    Args:
        values: ``(N, 16)`` x_min, y_min, x_max, y_max, then six key points.
        scores: ``(N,)``.

    Returns:
        ``(16,)`` averaged values and the best score of each group, best first.
    """
    order = np.argsort(-scores, kind="stable")
    values, scores = values[order], scores[order]
    area = (values[:, 2] - values[:, 0]) * (values[:, 3] - values[:, 1])
    left = np.ones(len(scores), bool)
    groups = []
    for top in range(len(scores)):
        if not left[top]:
            continue
        overlap = np.minimum(values[:, 2:4], values[top, 2:4]) - np.maximum(values[:, :2], values[top, :2])
        shared = np.clip(overlap, 0, None).prod(1)
        iou = shared / np.maximum(area + area[top] - shared, 1e-12)
        group = left & (iou > _SUPPRESS_IOU)
        group[top] = True
        weight = scores[group]
        groups.append(((values[group] * weight[:, None]).sum(0) / weight.sum(), float(scores[top])))
        left &= ~group
    return groups


class Detector:
    """One of the two detectors.

    ``short`` finds faces from 80 px of a 640 px frame at any roll; ``full`` finds those from 40 px, upright.

    Args:
        kind: ``short`` or ``full``.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._net = Net(kind)
        self._anchors = anchors(kind).astype(np.float64)
        _, self._boxes, self._scores = _LAYOUT[kind]

    def run(self, image: Image, min_score: float, region: Region | None = None) -> list[Detection]:
        """Find faces.

        Args:
            image: The frame, RGB or planes.
            min_score: Lowest score kept, 0..1.
            region: Where to look; the whole frame where None.

        Returns:
            Detections, best first.
        """
        height, width = image.shape[:2]
        area = region or whole_frame(width, height)
        side = self._net.side_px
        out = self._net.run(area.cut(image, side, cv2.BORDER_CONSTANT))
        logits = out[self._scores].reshape(-1).astype(np.float64)
        scores = 1.0 / (1.0 + np.exp(-np.clip(logits, -100, 100)))
        keep = np.flatnonzero(scores >= min_score)
        if keep.size == 0:
            return []
        raw = out[self._boxes].reshape(-1, 16)[keep].astype(np.float64) / side
        anchor = self._anchors[keep]
        centre = raw[:, 0:2] + anchor
        half = raw[:, 2:4] / 2
        points = (raw[:, 4:].reshape(-1, 6, 2) + anchor[:, None]).reshape(-1, 12)
        values = np.concatenate([centre - half, centre + half, points], axis=1)
        return [self._to_frame(v, s, area) for v, s in suppress(values, scores[keep])]

    def _to_frame(self, values: NDArray[np.float64], score: float, area: Region) -> Detection:
        matrix = area.to_frame(1)
        points = values.reshape(8, 2) @ matrix[:, :2].T + matrix[:, 2]
        # A rotated region turns the box: keep its centre and its size.
        centre = points[:2].mean(0)
        width, height = (values[2:4] - values[0:2]) * area.size
        box = (float(centre[0] - width / 2), float(centre[1] - height / 2), float(width), float(height))
        return Detection(box, points[2:], score)
