"""Makes ``stream/faces/covered.npz`` and measures it.

    python -m tests.scenes.covered fit --data DIR --out FILE.npz
    python -m tests.scenes.covered measure --data DIR

``fit`` draws covers of many shapes, shades and textures on faces of ``ferplus/train`` and learns which were covered.
``measure`` asks about clean faces of ``ferplus/dev`` and ``muxspace``, and about the probes that candidates are
measured by (``train/evaluation/probes.py``), none of which ``fit`` draws.
"""

from __future__ import annotations

import argparse
import io
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from engine.console import Exit, guarded
from engine.files import write_bytes
from stream.faces import covered
from stream.faces.nets.landmarks import LandmarkNet
from stream.faces.nets.regions import Region, five_points, region_of_landmarks
from train.evaluation.probes import sunglasses, surgical_mask

Grey = NDArray[np.uint8]
Points = NDArray[np.float32]
Draw = Callable[[Grey, Points, np.random.Generator], Grey]

SIDE_PX = 96
FACES = 1800
RIDGE = 2e-4


def pictures(archive: Path, most: int, seed: int) -> Iterator[Grey]:
    """So many pictures of an archive by chance, ``(96, 96)`` grey."""
    with zipfile.ZipFile(archive) as stored:
        names = [name for name in stored.namelist() if name.endswith((".webp", ".png", ".jpg"))]
        for name in np.random.default_rng(seed).permutation(sorted(names))[:most]:
            grey = cv2.imdecode(np.frombuffer(stored.read(str(name)), np.uint8), cv2.IMREAD_GRAYSCALE)
            if grey is not None:
                yield np.asarray(cv2.resize(grey, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_CUBIC), np.uint8)


class Finder:
    """The five points of a face that fills its picture."""

    def __init__(self) -> None:
        self._net = LandmarkNet()

    def points(self, grey: Grey) -> Points | None:
        """``(5, 2)`` px, or None where no face is seen as the daemon's tracker asks for."""
        rgb = np.asarray(cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB), np.uint8)
        found = self._net.run(rgb, Region(SIDE_PX / 2, SIDE_PX / 2, 1.25 * SIDE_PX))
        found = self._net.run(rgb, region_of_landmarks(found.points, 1.5))
        return five_points(found.points) if found.presence >= 0.9 else None

    def features(self, grey: Grey) -> NDArray[np.float32] | None:
        """What the regressions see of a picture; None where no face is found in it."""
        points = self.points(grey)
        if points is None:
            return None
        return covered.features(covered.aligned(np.repeat(grey[..., None], 3, 2), points))


def _cover(grey: Grey, outline: NDArray[np.floating], chance: np.random.Generator, level: float) -> Grey:
    """Paint an outline: a shade with a slope, folds or stripes, a soft edge."""
    height, width = grey.shape
    mask = np.zeros(grey.shape, np.uint8)
    cv2.fillPoly(mask, [np.round(outline * 16).astype(np.int32)], 255, cv2.LINE_AA, shift=4)
    soft = cv2.GaussianBlur(mask, (0, 0), chance.uniform(0.3, 1.5)).astype(np.float64) / 255
    y, x = np.mgrid[:height, :width] / SIDE_PX
    angle, pitch = chance.uniform(0, np.pi), chance.uniform(4, 30)
    folds = np.sin(2 * np.pi * pitch * (np.cos(angle) * x + np.sin(angle) * y) + chance.uniform(0, 6))
    slope = chance.normal(0, 40, 2)
    paint = level + slope[0] * (x - 0.5) + slope[1] * (y - 0.5) + chance.choice([0.0, 4, 12]) * folds
    paint = paint + cv2.GaussianBlur(chance.normal(0, chance.choice([0, 25]), grey.shape), (0, 0), 1.5)
    return np.asarray(np.clip(np.rint(grey * (1 - soft) + paint * soft), 0, 255), np.uint8)


def _ellipse(at: NDArray[np.floating], across: float, down: float, turn: float) -> NDArray[np.float64]:
    angle = np.linspace(0, 2 * np.pi, 30)[:, None]
    ring = np.concatenate([across * np.cos(angle), down * np.sin(angle)], 1)
    cos, sin = np.cos(turn), np.sin(turn)
    return np.asarray(at + ring @ np.array([[cos, sin], [-sin, cos]]))


def hide_mouth(grey: Grey, points: Points, chance: np.random.Generator) -> Grey:
    """A mask or scarf up to the nose, or a hand, a cup, a microphone before the mouth."""
    across = (points[1] - points[0]).astype(float)
    eye_px, turn = float(np.hypot(*across)), float(np.arctan2(across[1], across[0]))
    nose, mouth = points[2].astype(float), points[3:].mean(0).astype(float)
    down = mouth - points[:2].mean(0)
    level = float(chance.uniform(15, 240))
    if chance.random() < 0.5:
        top = nose - chance.uniform(-0.15, 0.3) * down
        wide = chance.uniform(0.75, 1.1)
        low = mouth + chance.uniform(0.5, 1.0) * down
        outline = np.array([
            top - 0.2 * across, top + 0.2 * across, nose + wide * across, mouth + 0.9 * wide * across,
            low + 0.5 * across, low - 0.5 * across, mouth - 0.9 * wide * across, nose - wide * across,
        ])  # fmt: skip
        return _cover(grey, outline + chance.normal(0, 0.03 * eye_px, outline.shape), chance, level)
    if chance.random() < 0.6:
        # Fingers side by side, in the skin's own shade.
        x, y = (int(np.clip(value, 8, SIDE_PX - 9)) for value in nose)
        skin = float(np.median(grey[y - 4 : y + 4, x - 8 : x + 8]))
        lean, out = chance.uniform(-0.8, 0.8), grey
        for k in range(4):
            at = mouth + (k - 1.5) * 0.27 * eye_px * np.array([-np.sin(lean), np.cos(lean)])
            finger = _ellipse(
                at + chance.normal(0, 0.06 * eye_px, 2), eye_px * chance.uniform(0.6, 1.0), 0.16 * eye_px, lean
            )
            out = _cover(out, finger, chance, skin + float(chance.normal(0, 14)))
        return out
    at, (wide, high) = mouth + chance.normal(0, 0.1 * eye_px, 2), (eye_px * chance.uniform(0.5, 0.8, 2)).tolist()
    thing = _ellipse(at, wide, high, turn)
    return _cover(grey, thing, chance, level)


def hide_eyes(grey: Grey, points: Points, chance: np.random.Generator) -> Grey:
    """Dark glasses of many shapes, or something before both eyes."""
    across = (points[1] - points[0]).astype(float)
    eye_px, turn = float(np.hypot(*across)), float(np.arctan2(across[1], across[0]))
    level, out = float(chance.uniform(5, 70)), grey
    if chance.random() < 0.2:
        band = _ellipse(
            points[:2].mean(0), eye_px * chance.uniform(0.9, 1.2), eye_px * chance.uniform(0.25, 0.45), turn
        )
        return _cover(grey, band, chance, float(chance.uniform(10, 230)))
    wide, high = chance.uniform(0.34, 0.48), chance.uniform(0.26, 0.4)
    for eye in points[:2]:
        lens = _ellipse(eye + np.array([0, 0.06 * eye_px]), wide * eye_px, high * eye_px, turn)
        out = _cover(out, lens, chance, level)
    if chance.random() < 0.4:
        for eye in points[:2]:
            glare = _ellipse(
                eye + chance.normal(0, 0.12 * eye_px, 2), 0.12 * eye_px, 0.05 * eye_px, chance.uniform(0, 3)
            )
            out = _cover(out, glare, chance, float(chance.uniform(90, 230)))
    return out


def spoilt(grey: Grey, chance: np.random.Generator) -> Grey:
    """As cameras give it: another light, blur, noise."""
    out = cv2.GaussianBlur(grey, (0, 0), chance.uniform(0.3, 1.5)).astype(np.float64)
    out = out * chance.uniform(0.25, 1.2) + chance.normal(0, chance.choice([0, 3, 8]), grey.shape)
    return np.asarray(np.clip(np.rint(out), 0, 255), np.uint8)


def fit(data: Path, out: Path) -> None:
    """Learn both regressions and write their weights."""
    finder, chance = Finder(), np.random.default_rng(1)
    rows: list[NDArray[np.float32]] = []
    truth: list[tuple[float, float]] = []
    for grey in pictures(data / "ferplus" / "train.zip", FACES, 1):
        points = finder.points(grey)
        if points is None:
            continue
        eyes, mouth = hide_eyes(grey, points, chance), hide_mouth(grey, points, chance)
        drawn = [(grey, (0.0, 0.0)), (spoilt(grey, chance), (0.0, 0.0)), (eyes, (1.0, 0.0)), (mouth, (0.0, 1.0))]
        if chance.random() < 0.15:
            drawn.append((hide_eyes(mouth, points, chance), (1.0, 1.0)))
        for picture, hidden in drawn:
            found = finder.features(spoilt(picture, chance) if sum(hidden) else picture)
            if found is not None:
                rows.append(found)
                truth.append(hidden)
    x, y = np.stack(rows).astype(np.float64), np.array(truth)
    weights = np.stack([_logistic(x, y[:, k]) for k in range(2)], 1)
    buffer = io.BytesIO()
    np.savez(buffer, weights=weights[:-1].astype(np.float16), bias=weights[-1].astype(np.float32))
    write_bytes(out, buffer.getvalue())
    print(f"{len(rows)} pictures, {out}: {len(buffer.getvalue())} bytes")


def _logistic(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    ones = np.hstack([x, np.ones((len(x), 1))])

    def loss(w: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        score = ones @ w
        error = 1 / (1 + np.exp(-score)) - y
        value = np.mean(np.logaddexp(0, score) - y * score) + RIDGE * float(w[:-1] @ w[:-1])
        return float(value), ones.T @ error / len(y) + 2 * RIDGE * np.append(w[:-1], 0)

    return np.asarray(minimize(loss, np.zeros(ones.shape[1]), jac=True, method="L-BFGS-B").x)


def measure(data: Path, most: int) -> None:
    """Shares of clean and covered faces that are called covered."""
    finder, chance = Finder(), np.random.default_rng(2)
    weights, bias = covered._weights()
    for archive in ("ferplus/dev.zip", "muxspace/ood_dev.zip"):
        cases: dict[str, Draw] = {
            "clean": lambda grey, *_: grey, "sunglasses (probe)": sunglasses, "mask (probe)": surgical_mask,
            "eyes": hide_eyes, "mouth": hide_mouth,
        }  # fmt: skip
        seen: dict[str, list[NDArray[np.float64]]] = {name: [] for name in cases}
        for grey in pictures(data / archive, most, 2):
            points = finder.points(grey)
            for name, draw in cases.items() if points is not None else ():
                assert points is not None
                found = finder.features(draw(grey, points, chance))
                if found is not None:
                    seen[name].append(np.asarray(found @ weights + bias))
        for name, scores in seen.items():
            probs = 1 / (1 + np.exp(-np.stack(scores)))
            shares = "  ".join(f"{at}: {100 * (probs[:, 0] > at).mean():5.1f} {100 * (probs[:, 1] > at).mean():5.1f}"
                               for at in (0.5, 0.8, 0.9, 0.95))  # fmt: skip
            print(f"{archive:22} {name:20} n {len(probs):4}  eyes, mouth above {shares}")


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.scenes.covered", description=__doc__)
    parser.add_argument("what", choices=("fit", "measure"))
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=covered.WEIGHTS)
    parser.add_argument("--most", type=int, default=800)
    options = parser.parse_args()

    def make() -> int:
        if options.what == "fit":
            fit(options.data, options.out)
        else:
            measure(options.data, options.most)
        return Exit.DONE

    return guarded("covered", make)


if __name__ == "__main__":
    raise SystemExit(main())
