"""Makes ``stream/faces/openness.npz`` and measures it on hand-labelled faces.

    python -m tests.scenes.openness measure --data DIR
    python -m tests.scenes.openness fit --data DIR --out FILE.npz

The labels (``openness_labels.csv``) were set by eye on contact sheets in shuffled order that showed no score: an eye is
open or shut, a mouth open where a gap or teeth show; what could not be told, or differed at a second look, has
no label. The nets learn from a teacher, MediaPipe's ``face_landmarker.task`` (its blink score of each eye, and the gap
that its finer lips leave), on faces without a label; the mouth's also from the labels of part ``learn``, because that
teacher itself tells parted lips at most in 94.5 % of ``choose``. ``choose`` set the scale and the bounds, ``test`` was
looked at once. Of scikit-image's pictures one face is large enough to be judged.

DIR holds ``ferplus/train.zip``, ``muxspace/ood_dev.zip`` and, for ``fit``, ``models/face_landmarker.task``.
"""

from __future__ import annotations

import argparse
import csv
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from stream.faces.nets.landmarks import LandmarkNet, Landmarks
from stream.faces.nets.regions import Region, region_of_landmarks
from stream.faces.pose import head_pose
from stream.faces.signals import LIPS_APART, SignalReader, eye_features, face_axes, mouth_features

LABELS = Path(__file__).parent / "openness_labels.csv"
ARCHIVES = {"ferplus": "ferplus/train.zip", "muxspace": "muxspace/ood_dev.zip"}
SCIKIT_IMAGE = "scikit-image"
_LOOKS = (1.25, 1.75, 1.0)
_FACES = {"ferplus": 6000, "muxspace": 6700}
# Blink scores at which an eye counts as fully open and fully shut, and the gap in spans of a fully open mouth.
_BLINK_OPEN, _BLINK_SHUT, _GAP_WIDE = 0.02, 0.48, 0.6
# Landmarks that a mouth's features use, and the one that takes each one's place in a mirrored picture.
_MIRROR = np.arange(468)
for _a, _b in (
    (33, 263), (61, 291), (185, 409), (40, 270), (39, 269), (37, 267), (146, 375), (91, 321), (181, 405), (84, 314),
    (78, 308), (191, 415), (80, 310), (81, 311), (82, 312), (95, 324), (88, 318), (178, 402), (87, 317),
):  # fmt: skip
    _MIRROR[[_a, _b]] = _b, _a


@dataclass(frozen=True)
class Label:
    """One labelled face: ``open``, ``shut`` or nothing for each of its three parts."""

    set: str
    name: str
    right_eye: str
    left_eye: str
    mouth: str
    part: str


def labels() -> list[Label]:
    """All of the committed list."""
    with LABELS.open(newline="", encoding="utf-8") as lines:
        return [Label(**row) for row in csv.DictReader(lines)]


def pictures(data: Path, chosen: dict[str, list[str]]) -> Iterator[tuple[str, str, NDArray[np.uint8]]]:
    """(set, name, RGB image) of the named pictures."""
    for where, names in chosen.items():
        if where == SCIKIT_IMAGE:
            import skimage.data

            # Her head, cut as the others are.
            assert names == ["astronaut.png"], names
            yield where, names[0], np.ascontiguousarray(skimage.data.astronaut()[35:205, 140:310])  # type: ignore[no-untyped-call]
            continue
        with zipfile.ZipFile(data / ARCHIVES[where]) as archive:
            for name in names:
                grey = cv2.imdecode(np.frombuffer(archive.read(name), np.uint8), cv2.IMREAD_GRAYSCALE)
                assert grey is not None, name
                yield where, name, np.asarray(cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB), np.uint8)


def landmarks(net: LandmarkNet, image: NDArray[np.uint8]) -> Landmarks:
    """Of a picture that one face fills, as the tracker has them after a few frames."""
    height, width = image.shape[:2]
    best: Landmarks | None = None
    for look in _LOOKS:
        seen = net.run(image, Region(width / 2, height / 2, look * max(width, height)))
        for _ in range(2):
            seen = net.run(image, region_of_landmarks(seen.points, 1.5))
        if best is None or seen.presence > best.presence:
            best = seen
        if best.presence > 0.99:
            break
    assert best is not None
    return best


@dataclass
class Tally:
    """How many parts were judged rightly, wrongly and not at all."""

    right: int = 0
    wrong: int = 0
    unjudged: int = 0

    @property
    def share(self) -> float:
        """Right ones of those judged."""
        return self.right / max(self.right + self.wrong, 1)

    def add(self, label: str, value: float | None, bound: float) -> None:
        """Count one labelled part."""
        if value is None:
            self.unjudged += 1
        elif (value >= bound) == (label == "open"):
            self.right += 1
        else:
            self.wrong += 1


def measure(data: Path, part: str) -> dict[str, Tally]:
    """Eyes and mouths of one part of the labels: ``choose`` or ``test``."""
    net, reader = LandmarkNet(), SignalReader()
    wanted = {(label.set, label.name): label for label in labels() if label.part == part}
    chosen = {where: [name for found, name in wanted if found == where] for where in (*ARCHIVES, SCIKIT_IMAGE)}
    tallies = {"eyes": Tally(), "mouth": Tally()}
    for where, name, image in pictures(data, {where: names for where, names in chosen.items() if names}):
        label, seen = wanted[where, name], landmarks(net, image)
        found = reader.read(image, seen.points, head_pose(seen.points), seen.presence)
        for given, value in ((label.right_eye, found.right_eye), (label.left_eye, found.left_eye)):
            if given:
                tallies["eyes"].add(given, value, 0.5)
        if label.mouth:
            tallies["mouth"].add(label.mouth, found.mouth, LIPS_APART)
    return tallies


class _Teacher:
    def __init__(self, model: Path) -> None:
        import mediapipe
        from mediapipe.tasks import python as tasks
        from mediapipe.tasks.python import vision

        options = vision.FaceLandmarkerOptions(
            base_options=tasks.BaseOptions(model_asset_path=str(model)), output_face_blendshapes=True, num_faces=1
        )
        self._mediapipe, self._landmarker = mediapipe, vision.FaceLandmarker.create_from_options(options)

    def __call__(self, image: NDArray[np.uint8]) -> tuple[float, float, float] | None:
        """(right eye, left eye, mouth) on the scale of the signals; None where it finds no face."""
        wide = cv2.copyMakeBorder(image, 20, 20, 20, 20, cv2.BORDER_REPLICATE)
        large = np.ascontiguousarray(cv2.resize(wide, None, fx=3, fy=3, interpolation=cv2.INTER_CUBIC))
        found = self._landmarker.detect(
            self._mediapipe.Image(image_format=self._mediapipe.ImageFormat.SRGB, data=large)
        )
        if not found.face_blendshapes:
            return None
        blink = {c.category_name: c.score for c in found.face_blendshapes[0]}
        points = np.array([[p.x * large.shape[1], p.y * large.shape[0]] for p in found.face_landmarks[0]])
        span = np.linalg.norm(points[33] - points[263])
        gap = np.mean([np.linalg.norm(points[a] - points[b]) for a, b in ((13, 14), (82, 87), (312, 317))]) / span
        eyes = [(_BLINK_SHUT - blink[name]) / (_BLINK_SHUT - _BLINK_OPEN) for name in ("eyeBlinkRight", "eyeBlinkLeft")]
        return eyes[0], eyes[1], float(gap) / _GAP_WIDE


def _worse(image: NDArray[np.uint8], random: np.random.Generator, lowest: float) -> NDArray[np.uint8]:
    """The picture as a poorer camera has it: softer, darker, noisy."""
    share = random.uniform(lowest, 1)
    small = cv2.resize(image, None, fx=share, fy=share, interpolation=cv2.INTER_AREA)
    soft = cv2.resize(small, image.shape[1::-1], interpolation=cv2.INTER_LINEAR).astype(np.float32)
    noise = random.normal(0, random.uniform(0, 6), image.shape)
    return np.clip(soft * random.uniform(0.5, 1.1) + noise, 0, 255).astype(np.uint8)


def _mouth_views(
    image: NDArray[np.uint8], points: NDArray[np.floating], random: np.random.Generator, lowest: float, count: int
) -> Iterator[NDArray[np.float32]]:
    """Features of the face as it is, then of poorer ones; every other one mirrored."""
    xy = np.asarray(points[:, :2], np.float32)
    for turn in range(count):
        view, there = image, xy
        if turn:
            view = _worse(image, random, lowest)
            there = xy + random.normal(0, 0.012, (1, 2)).astype(np.float32) * np.linalg.norm(xy[33] - xy[263])
        if turn % 2:
            view = np.ascontiguousarray(view[:, ::-1])
            there = (np.array([view.shape[1] - 1, 0], np.float32) + there * np.array([-1, 1], np.float32))[_MIRROR]
        yield mouth_features(view, there, face_axes(there))


def fit_mouth(
    taught: NDArray[np.float32], gaps: NDArray[np.float32], labelled: NDArray[np.float32], parted: NDArray[np.float32]
) -> dict[str, Any]:
    """The mouth's weights: the mean of three nets, each trained on gaps and on hand labels at once (40 s of CPU)."""
    import torch
    from torch.nn import functional

    torch.set_num_threads(1)
    mean, deviation = taught.mean(0), taught.std(0) + 1e-3
    x, known = (torch.tensor((part - mean) / deviation) for part in (taught, labelled))
    y, told = torch.tensor(np.clip(gaps, 0, 1.2)), torch.tensor(parted)
    hidden, hidden_bias, out, bias = [], [], [], []
    for seed in range(3):
        torch.manual_seed(seed)
        first, last = torch.nn.Linear(x.shape[1], 24), torch.nn.Linear(24, 1)
        layers = (torch.nn.Dropout(0.25), first, torch.nn.ReLU(), torch.nn.Dropout(0.1), last)
        net = torch.nn.Sequential(*layers)
        steps, epochs = len(x) // 256, 5
        optimiser = torch.optim.AdamW(net.parameters(), weight_decay=0.3)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, epochs * steps)
        for _ in range(epochs):
            order = torch.randperm(len(x))
            for step in range(steps):
                batch, some = order[step * 256 : step * 256 + 256], torch.randint(len(known), (64,))
                loss = 10 * functional.mse_loss(net(x[batch])[:, 0], y[batch])
                odds = (net(known[some])[:, 0] - 0.13) / 0.05
                loss = loss + 0.3 * functional.binary_cross_entropy_with_logits(odds, told[some])
                optimiser.zero_grad()
                torch.autograd.backward(loss)
                optimiser.step()
                schedule.step()
        scaled = first.weight.detach().numpy().T / deviation[:, None]
        hidden.append(scaled)
        hidden_bias.append(first.bias.detach().numpy() - mean @ scaled)
        out.append(last.weight.detach().numpy()[0] / 3)
        bias.append(last.bias.item() / 3)
    return {
        "mouth_hidden": np.hstack(hidden).astype(np.float32),
        "mouth_hidden_bias": np.hstack(hidden_bias).astype(np.float32),
        "mouth_out": np.hstack(out).astype(np.float32),
        "mouth_bias": np.float32(sum(bias)),
    }


def fit(data: Path, out: Path) -> None:
    """Learn both nets and write them."""
    from sklearn.neural_network import MLPRegressor

    random, net, teacher = np.random.default_rng(0), LandmarkNet(), _Teacher(data / "models" / "face_landmarker.task")
    known, chosen = {(label.set, label.name): label for label in labels()}, {}
    for where, most in _FACES.items():
        with zipfile.ZipFile(data / ARCHIVES[where]) as archive:
            names = archive.namelist()
        drawn = {names[k] for k in random.permutation(len(names))[:most]}
        learnt = {name for found, name in known if found == where and known[found, name].part == "learn"}
        chosen[where] = sorted({name for name in drawn if (where, name) not in known} | learnt)
    eyes: list[NDArray[np.float32]] = []
    shares: list[float] = []
    mouths: list[NDArray[np.float32]] = []
    gaps: list[float] = []
    labelled: list[NDArray[np.float32]] = []
    parted: list[bool] = []
    for where, name, image in pictures(data, chosen):
        seen, taught = landmarks(net, image), teacher(image)
        if taught is None or seen.presence < 0.9:
            continue
        xy, lowest = np.asarray(seen.points[:, :2], np.float32), 0.45 if where == "muxspace" else 0.75
        jitter = random.normal(0, 0.012, (1, 2)).astype(np.float32) * np.linalg.norm(xy[33] - xy[263])
        for view, points in ((image, xy), (_worse(image, random, lowest), xy + jitter)):
            eyes += [eye_features(view, points, face_axes(points), left) for left in (False, True)]
            shares += taught[:2]
        mouths += _mouth_views(image, xy, random, lowest, 3)
        gaps += [taught[2]] * 3
        if (where, name) in known:
            labelled += _mouth_views(image, xy, random, lowest, 8)
            parted += [known[where, name].mouth == "open"] * 8
    x, y = np.stack(eyes), np.clip(np.array(shares, np.float32), -0.5, 1.5)
    mean, deviation = x.mean(0), x.std(0) + 1e-3
    model = MLPRegressor(
        hidden_layer_sizes=(16,), alpha=0.5, early_stopping=True, max_iter=60, random_state=0, learning_rate_init=2e-3
    ).fit((x - mean) / deviation, y)
    (hidden, outer), (hidden_bias, bias) = model.coefs_, model.intercepts_
    scaled = hidden / deviation[:, None]
    stored = {
        "eye_hidden": scaled.astype(np.float32),
        "eye_hidden_bias": (hidden_bias - mean @ scaled).astype(np.float32),
        "eye_out": outer[:, 0].astype(np.float32),
        "eye_bias": np.float32(bias[0]),
    }
    numbers = np.float32
    stored |= fit_mouth(np.stack(mouths), np.array(gaps, numbers), np.stack(labelled), np.array(parted, numbers))
    np.savez(out, **stored)


def main(arguments: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.scenes.openness", description=__doc__)
    parser.add_argument("what", choices=("measure", "fit"))
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("openness.npz"))
    given = parser.parse_args(arguments)
    if given.what == "fit":
        fit(given.data, given.out)
        return 0
    for part in ("choose", "test"):
        for what, tally in measure(given.data, part).items():
            counts = f"{tally.right} right, {tally.wrong} wrong, {tally.unjudged} not judged"
            print(f"{part} {what}: {counts}, {tally.share:.3f}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
