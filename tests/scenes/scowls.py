"""Scowls in motion: angry faces with closed mouths, whose brows come down as a window passes; how a bundle reads them.

    python -m tests.scenes.scowls --bundle stream/default_model --data FER+ --part choose

Each face that voters named angry and that was marked by eye as a scowl, lowered brows and closed lips
(``scowls.txt``: 52 of dev's 298 angry faces), is relaxed by a warp of its own landmarks (brows up, lids open) and
scowls again over half a second, jittered as a tracker jitters, then holds for a second: once as the still has it, once
with brows lowered by a third more. What is read is the newest sample's answer and the window's at the end.
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from calibration.apply import load
from engine.backends import open_backend
from engine.bundle import Bundle
from stream.faces.nets.landmarks import LandmarkNet
from stream.faces.nets.regions import Region, region_of_landmarks
from stream.window.crop import crop_face
from train.data.layouts.ferplus import STILL_PX, Stills
from train.default_model.judge import PARTS, read_part

Points = NDArray[np.floating[Any]]

_EYES = (33, 133, 362, 263)
_INNER_BROWS, _OUTER_BROWS, _UPPER_LIDS = (55, 107, 285, 336), (70, 105, 300, 334), (159, 386)
_MARKED = Path(__file__).with_suffix(".txt")
_FURTHER = (0.0, 0.33)
"""How much beyond the still's own the brows come down."""
_RELAXED = {_INNER_BROWS: 0.14, _OUTER_BROWS: 0.07, _UPPER_LIDS: 0.04}
"""How far a relaxed face has them higher, of the distance between the eyes: a little more than what lies between the
medians of 300 neutral and 298 angry faces of dev (inner brows 0.225 and 0.194 above the eyes' corners)."""


def landmarks(net: LandmarkNet, grey: NDArray[np.uint8]) -> Points:
    """``(468, 2)`` landmarks of a still, px."""
    image = np.asarray(cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB), np.uint8)
    first = net.run(image, Region(STILL_PX / 2, STILL_PX / 2, 1.25 * STILL_PX, 0.0))
    return np.asarray(net.run(image, region_of_landmarks(first.points, 1.5)).points[:, :2], np.float64)


def eye_distance(points: Points) -> float:
    """Between the middles of both eyes, px."""
    return float(np.linalg.norm(points[[33, 133]].mean(0) - points[[362, 263]].mean(0)))


def relaxed(grey: NDArray[np.uint8], points: Points, share: float) -> NDArray[np.uint8]:
    """The still with brows and lids a share of the way to where a calm face has them; below 0, further down."""
    far = eye_distance(points)
    up = points[list(_EYES)].mean(0) - points[[61, 291]].mean(0)
    up /= np.linalg.norm(up)
    y, x = np.mgrid[:STILL_PX, :STILL_PX].astype(np.float64)
    moved, weight = np.zeros((STILL_PX, STILL_PX)), np.full((STILL_PX, STILL_PX), 1e-6)
    for group, height in _RELAXED.items():
        for index in group:
            near = np.exp(-((x - points[index, 0]) ** 2 + (y - points[index, 1]) ** 2) / (2 * (0.16 * far) ** 2))
            moved += near * height * far
            weight += near
    # A sum that fades out: where several pull they are averaged, far from all of them nothing moves.
    field = share * moved / np.maximum(weight, 1.0)
    sources = ((x - up[0] * field).astype(np.float32), (y - up[1] * field).astype(np.float32))
    return np.asarray(cv2.remap(grey, *sources, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE), np.uint8)


def read_scowls(bundle: Bundle, stills: Stills) -> dict[str, Any]:
    """Shares of answers in percent, of the newest sample and of the window, on every marked scowl of a part."""
    net, backend = LandmarkNet(), open_backend(bundle, threads=1)
    calibration, spec = load(bundle.calibration(), bundle.spec.labels), bundle.spec
    rng = np.random.default_rng(0)
    answers: dict[str, list[int]] = {"now": [], "window": []}
    marked = set(_MARKED.read_text("utf-8").split())
    rows = [row for row, name in enumerate(stills.names) if name in marked]
    for row, further in itertools.product(rows, _FURTHER):
        points = landmarks(net, stills.grey[row])
        # Calm for 0.5 s, half a second on the way, then held.
        calm = np.clip(1 - (np.arange(spec.window) - 3) / 4, 0, 1)
        crops = []
        for share in calm:
            grey = relaxed(stills.grey[row], points, share - further * (1 - share))
            five = stills.points[row] + rng.normal(0, 0.3, (5, 2)).astype(np.float32)
            crops.append(crop_face(np.asarray(cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB), np.uint8), five, spec.crop))
        features = np.array(backend.encode(np.stack(crops)[:, None]), np.float32)
        output = backend.head(features, np.arange(spec.window, dtype=np.int32)[None])
        answers["window"].append(int(calibration.probs(np.array(output.logits))[0].argmax()))
        if output.now is not None:
            answers["now"].append(int(calibration.probs(np.array(output.now))[0].argmax()))
    backend.close()
    shares = {
        name: dict(zip(spec.labels, 100 * np.bincount(said, minlength=len(spec.labels)) / len(said), strict=True))
        for name, said in answers.items()
        if said
    }
    return {"sequences": len(answers["window"]), **shares}


def main() -> None:
    """Print what a bundle reads."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, default=Path("stream/default_model"))
    parser.add_argument("--data", type=Path, required=True, help="folder with FER+")
    parser.add_argument("--part", choices=tuple(PARTS), default="choose")
    parser.add_argument("--cache", type=Path, default=Path(".cache/compact"))
    given = parser.parse_args()
    found = read_scowls(Bundle.open(given.bundle), read_part(given.data, given.part, given.cache))
    print(f"{found['sequences']} scowls of {given.part}")
    for name in ("now", "window"):
        if name in found:
            print(f"{name}: " + ", ".join(f"{label} {share:.0f} %" for label, share in found[name].items()))


if __name__ == "__main__":
    main()
