"""News photographs, another domain than the training stills: the default bundle beside two public classifiers.

``python -m tests.scenes.news_photographs --photographs DIR --peers DIR`` scores all of them under one crop rule: the
aligned crop of the bundle's geometry, cut at the size each net takes. The peers may also have their best of several
margins around it, in their favour.
"""

from __future__ import annotations

import argparse
import csv
import json
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.backends import open_backend
from engine.bundle.bundle import Bundle
from engine.spec import SEVEN_CLASSES, CropGeometry, canonical_class
from stream.offline.align import CropAligner
from stream.window.crop import crop_face
from train.default_model.measure import accuracy, still_logits

PEERS = {
    "mini_xception": (64, ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")),
    "faceapi_expression": (112, ("neutral", "happiness", "sadness", "anger", "fear", "disgust", "surprise")),
}
"""ONNX file, side of its input, order of its classes."""

MARGINS = (1.0, 1.15, 1.3)
"""Sides of the square around the face that the peers may choose from, of the aligned crop's."""


def read_photographs(
    folder: Path, limit: int | None
) -> tuple[list[NDArray[np.uint8]], NDArray[np.float32], NDArray[np.int64]]:
    """Photographs with a found face: RGB images, ``(N, 5, 2)`` landmarks and ``(N,)`` classes.

    Args:
        folder: Holds ``ood_dev.zip`` and ``ood_dev.csv``.
        limit: Read so many, evenly spread; all if not given.
    """
    with (folder / "ood_dev.csv").open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    if limit:
        rows = [rows[i] for i in np.linspace(0, len(rows) - 1, limit).round().astype(int)]
    images, points, classes, aligner = [], [], [], CropAligner()
    with zipfile.ZipFile(folder / "ood_dev.zip") as photographs:
        for row in rows:
            grey = cv2.imdecode(np.frombuffer(photographs.read(row["name"]), np.uint8), cv2.IMREAD_GRAYSCALE)
            assert grey is not None, row["name"]
            images.append(np.asarray(cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB), np.uint8))
            # Where no face is found, the usual places of a crop stand in, for all nets alike.
            points.append(aligner.points(images[-1]).points5)
            classes.append(SEVEN_CLASSES.index(canonical_class(row["emotion"])))
    return images, np.stack(points), np.array(classes)


def widen(geometry: CropGeometry, margin: float, size_px: int) -> CropGeometry:
    """The same crop with a wider margin and another size."""
    template = tuple((0.5 + (x - 0.5) / margin, 0.5 + (y - 0.5) / margin) for x, y in geometry.template)
    return replace(geometry, template=template, size_px=size_px)


def peer_logits(
    path: Path, images: list[NDArray[np.uint8]], points: NDArray[np.float32], geometry: CropGeometry
) -> NDArray[np.float32]:
    """``(N, 7)`` scores of a peer in :data:`~engine.spec.SEVEN_CLASSES` order."""
    import onnxruntime

    size, order = PEERS[path.stem]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options)
    name, parts = session.get_inputs()[0].name, []
    for start in range(0, len(images), 64):
        crops = np.stack(
            [crop_face(i, p, geometry) for i, p in zip(images[start : start + 64], points[start:], strict=False)]
        ).astype(np.float32)
        if path.stem == "mini_xception":
            value: Any = crops[..., :1] / 127.5 - 1
        else:
            value = np.ascontiguousarray(crops.transpose(0, 3, 1, 2))
        parts.append(session.run(None, {name: value})[0])
    scores = np.concatenate(parts)
    return np.asarray(scores[:, [order.index(label) for label in SEVEN_CLASSES]], np.float32)


def compare(bundle: Path, photographs: Path, peers: Path, limit: int | None = None) -> dict[str, Any]:
    """WAR and UAR with 95 % intervals of the bundle and of each peer at each margin."""
    images, points, truth = read_photographs(photographs, limit)
    opened = Bundle.open(bundle)
    backend = open_backend(opened, threads=1)
    crops = np.stack([crop_face(i, p, opened.spec.crop) for i, p in zip(images, points, strict=True)])[:, None]
    report: dict[str, Any] = {"n": len(truth)}
    logits = still_logits(backend, crops, opened.spec.window)
    report["bundle"] = accuracy(logits, truth, SEVEN_CLASSES, 500)
    backend.close()
    for name, (size, _) in PEERS.items():
        for margin in MARGINS:
            geometry = widen(opened.spec.crop, margin, size)
            scores = peer_logits(peers / f"{name}.onnx", images, points, geometry)
            report[f"{name} x{margin}"] = accuracy(scores, truth, SEVEN_CLASSES, 500)
    return report


def main(arguments: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.scenes.news_photographs", description=__doc__)
    parser.add_argument("--photographs", type=Path, required=True, help="folder with ood_dev.zip and ood_dev.csv")
    parser.add_argument("--peers", type=Path, required=True, help="folder with the peers' ONNX files")
    parser.add_argument("--bundle", type=Path, default=Path("stream/default_model"))
    parser.add_argument("--limit", type=int, default=None)
    given = parser.parse_args(arguments)
    print(json.dumps(compare(given.bundle, given.photographs, given.peers, given.limit), indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
