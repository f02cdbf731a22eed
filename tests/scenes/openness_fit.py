"""Makes ``stream/faces/openness.npz``: ``python -m tests.scenes.openness_fit --data DIR --out FILE.npz``.

The eyes' net learns from MediaPipe's ``face_landmarker.task``, its blink score of each eye. The mouth's learns from the
mean of two that see more than it: the gap that the same landmarker's finer lips leave, and the gap that two
convolutional nets read from a larger and wider patch, which learned that gap and the hand labels of part ``learn`` at
once. On part ``choose`` the landmarker alone tells parted lips in 94.6 % at its best bound, one such net in 94.6 %,
their mean in 97.0 %.
Faces whose person or twin is in another part teach nothing.

DIR holds what ``openness.py`` reads, the tables beside its archives, and ``models/face_landmarker.task``.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from stream.faces.nets.landmarks import LandmarkNet
from stream.faces.signals import KERNEL, LEFT, MOUTH_PART, RIGHT, STRIDE, face_axes, features
from stream.faces.signals import MOUTH as MOUTH_POINTS
from tests.scenes.openness import ARCHIVES, SCIKIT_IMAGE, labels, landmarks, pictures

_FACES = {"ferplus": 8000, "muxspace": 6731}
_GROUP = {"ferplus": ("ferplus/train.csv", "twin_cluster"), "muxspace": ("muxspace/ood_dev.csv", "identity_hash")}
# Blink scores at which an eye counts as fully open and fully shut, and the gap in spans of a fully open mouth.
_BLINK_OPEN, _BLINK_SHUT, _GAP_WIDE = 0.02, 0.48, 0.6
_WIDE_PATCH, _WIDE_SHARE = (44, 32), 1.15
_VIEWS, _LABELLED_VIEWS, _CNNS, _STUDENTS, _KERNELS = 3, 8, 2, 2, 8
# Landmarks that a mouth's features use, and the one that takes each one's place in a mirrored picture.
_MIRROR = np.arange(468)
for _a, _b in (
    (33, 263), (61, 291), (185, 409), (40, 270), (39, 269), (37, 267), (146, 375), (91, 321), (181, 405), (84, 314),
    (78, 308), (191, 415), (80, 310), (81, 311), (82, 312), (95, 324), (88, 318), (178, 402), (87, 317),
):  # fmt: skip
    _MIRROR[[_a, _b]] = _b, _a

Grey = NDArray[np.uint8]
Numbers = NDArray[np.float32]


class Teacher:
    """MediaPipe's landmarker on a picture that one face fills."""

    def __init__(self, model: Path) -> None:
        import mediapipe
        from mediapipe.tasks import python as tasks
        from mediapipe.tasks.python import vision

        options = vision.FaceLandmarkerOptions(
            base_options=tasks.BaseOptions(model_asset_path=str(model)), output_face_blendshapes=True, num_faces=1
        )
        self._mediapipe, self._landmarker = mediapipe, vision.FaceLandmarker.create_from_options(options)

    def __call__(self, image: Grey) -> tuple[float, float, float] | None:
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


def worse(image: Grey, random: np.random.Generator, lowest: float) -> Grey:
    """The picture as a poorer camera has it: softer, darker, noisy."""
    share = random.uniform(lowest, 1)
    small = cv2.resize(image, None, fx=share, fy=share, interpolation=cv2.INTER_AREA)
    soft = cv2.resize(small, image.shape[1::-1], interpolation=cv2.INTER_LINEAR).astype(np.float32)
    noise = random.normal(0, random.uniform(0, 6), image.shape)
    return np.clip(soft * random.uniform(0.5, 1.1) + noise, 0, 255).astype(np.uint8)


def mouth_views(image: Grey, points: Numbers, random: np.random.Generator, lowest: float, count: int) -> list[Numbers]:
    """Features of the face as it is, then of poorer ones; every other one mirrored."""
    views, xy = [], np.asarray(points[:, :2], np.float32)
    for turn in range(count):
        view, there = image, xy
        if turn:
            view = worse(image, random, lowest)
            there = xy + random.normal(0, 0.012, (1, 2)).astype(np.float32) * np.linalg.norm(xy[33] - xy[263])
        if turn % 2:
            view = np.ascontiguousarray(view[:, ::-1])
            there = (np.array([view.shape[1] - 1, 0], np.float32) + there * np.array([-1, 1], np.float32))[_MIRROR]
        views.append(features(view, there, face_axes(there), MOUTH_PART))
    return views


def wide_patches(image: Grey, points: Numbers, random: np.random.Generator, lowest: float, count: int) -> list[Grey]:
    """``(32, 44)`` each: the mouth and more around it, as it is, then poorer, shifted, turned and grown a little."""
    found, xy = [], np.asarray(points[:, :2], np.float32)
    axes, (width, height) = face_axes(xy), _WIDE_PATCH
    for turn in range(count):
        view = worse(image, random, lowest) if turn else image
        shift, angle, growth = (
            (random.normal(0, 0.015, 2), random.normal(0, 0.04), np.exp(random.normal(0, 0.05)))
            if turn
            else (np.zeros(2), 0.0, 1.0)
        )
        step = _WIDE_SHARE * axes.span_px / width * growth
        fine = min(max(round(step), 1), 4)
        along = complex(*axes.across) * np.exp(1j * angle) * step / fine
        x, y = xy[MOUTH_POINTS[[0, 10]]].mean(0) + shift * axes.span_px
        x, y = x - axes.across[1] * axes.span_px * 0.04, y + axes.across[0] * axes.span_px * 0.04
        across = np.array([[along.real, -along.imag], [along.imag, along.real]])
        middle = np.array([(width * fine - 1) / 2, (height * fine - 1) / 2])
        matrix = np.column_stack([across, np.array([x, y]) - across @ middle])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        size = (width * fine, height * fine)
        seen = cv2.warpAffine(view, matrix, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
        seen = cv2.resize(seen, _WIDE_PATCH, interpolation=cv2.INTER_AREA) if fine > 1 else seen
        found.append(np.asarray(seen[:, :, 1], np.uint8))
    return found


class WideNet(nn.Module):
    """Gap and log odds of parted lips from a wide patch."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = (1, 12, 24, 48)
        for before, after in itertools.pairwise(channels):
            layers += [nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
            layers.append(nn.MaxPool2d(2))
        cells = (_WIDE_PATCH[0] // 8) * (_WIDE_PATCH[1] // 8)
        head = (nn.Flatten(), nn.Dropout(0.4), nn.Linear(48 * cells, 48), nn.ReLU(), nn.Linear(48, 2))
        self._layers = nn.Sequential(*layers, *head)

    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        """``(N, 2)`` from ``(N, 1, 32, 44)``."""
        found: torch.Tensor = self._layers(patches)
        return found


def wide_gaps(patches: NDArray[np.uint8], gaps: Numbers, labelled: NDArray[np.uint8], parted: Numbers) -> Numbers:
    """``(N,)``: what convolutional nets make of the first view of every unlabelled face.

    Args:
        patches: ``(N, 2, 32, 44)``: two views of each of them.
        gaps: ``(N,)``: the teacher's.
        labelled: ``(M, 32, 44)``: views of labelled faces.
        parted: ``(M,)``: their labels.
    """
    x, known = _standard(patches.reshape(-1, *patches.shape[2:])), _standard(labelled)
    y, told = torch.tensor(np.repeat(np.clip(gaps, -0.2, 1.2), 2)), torch.tensor(parted)
    first, found = x[::2], []
    for seed in range(_CNNS):
        torch.manual_seed(seed)
        net = WideNet()
        optimiser, schedule = _optimiser(net, len(x), 6, 3e-3, 0.05)
        for some in _batches(len(x), 6):
            few = torch.randint(len(known), (96,))
            both = torch.cat([x[some], known[few]])
            both = both.flip(3) if torch.rand(()) < 0.5 else both
            both = torch.roll(both, torch.randint(-1, 2, (2,)).tolist(), (2, 3))
            out = net(both + torch.randn_like(both) * 0.08 * torch.rand(()))
            loss = 10 * functional.mse_loss(out[: len(some), 0], y[some])
            loss = loss + 0.5 * functional.binary_cross_entropy_with_logits(out[len(some) :, 1], told[few])
            _step(loss, optimiser, schedule)
        net.eval()
        with torch.no_grad():
            found.append(
                torch.cat([(net(part) + net(part.flip(3)))[:, 0] / 2 for part in torch.split(first, 512)]).numpy()
            )
    return np.asarray(np.mean(found, 0), np.float32)


def fit_mouth(views: Numbers, gaps: Numbers) -> dict[str, Any]:
    """The mouth's weights, as ``stream.faces.signals`` reads them: the mean of two nets.

    Args:
        views: ``(N, F)``: features.
        gaps: ``(N,)``: what they are to give.
    """
    count = 2 * len(MOUTH_POINTS)
    mean, deviation = views.mean(0), views.std(0) + 1e-3
    mean[count:], deviation[count:] = 0, 1
    x, y = torch.tensor((views - mean) / deviation), torch.tensor(np.clip(gaps, -0.1, 1.2))
    kernels, kernel_bias, hidden, shape, hidden_bias, out, bias = [], [], [], [], [], [], 0.0
    for seed in range(_STUDENTS):
        torch.manual_seed(seed)
        net = _Student(count)
        optimiser, schedule = _optimiser(net, len(x), 12, 4e-3, 0.02)
        for some in _batches(len(x), 12):
            _step(10 * functional.smooth_l1_loss(net(x[some])[:, 0], y[some], beta=0.1), optimiser, schedule)
        weight = net.hidden.weight.detach().numpy()
        kernels.append(net.kernels.weight.detach().numpy().reshape(_KERNELS, -1).T)
        kernel_bias.append(net.kernels.bias.detach().numpy())  # type: ignore[union-attr]
        per_kernel = weight[:, count:].reshape(len(weight), _KERNELS, -1)
        hidden.append(per_kernel.transpose(2, 1, 0).reshape(-1, len(weight)))
        scaled = weight[:, :count].T / deviation[:count, None]
        shape.append(scaled)
        hidden_bias.append(net.hidden.bias.detach().numpy() - mean[:count] @ scaled)
        out.append(net.out.weight.detach().numpy()[0] / _STUDENTS)
        bias += net.out.bias.item() / _STUDENTS
    return {
        "mouth_kernels": np.hstack(kernels).astype(np.float32),
        "mouth_kernels_bias": np.hstack(kernel_bias).astype(np.float32),
        "mouth_hidden": np.stack(hidden).astype(np.float32),
        "mouth_shape": np.hstack(shape).astype(np.float32),
        "mouth_hidden_bias": np.hstack(hidden_bias).astype(np.float32),
        "mouth_out": np.hstack(out).astype(np.float32),
        "mouth_bias": np.float32(bias),
    }


class _Student(nn.Module):
    def __init__(self, count: int) -> None:
        super().__init__()
        self._count = count
        width, height = MOUTH_PART.patch
        cells = ((width - KERNEL) // STRIDE + 1) * ((height - KERNEL) // STRIDE + 1)
        self.kernels = nn.Conv2d(1, _KERNELS, KERNEL, stride=STRIDE)
        self.hidden, self.out = nn.Linear(_KERNELS * cells + count, 32), nn.Linear(32, 1)
        self._drop = nn.Dropout(0.2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        patch = x[:, self._count :].reshape(-1, 1, MOUTH_PART.patch[1], MOUTH_PART.patch[0])
        edges = torch.relu(self.kernels(patch)).flatten(1)
        found: torch.Tensor = self.out(torch.relu(self.hidden(self._drop(torch.cat([x[:, : self._count], edges], 1)))))
        return found


def _standard(patches: NDArray[np.uint8]) -> torch.Tensor:
    x = torch.tensor(patches, dtype=torch.float32)
    x = x - x.mean((1, 2), keepdim=True)
    return (x / (x.std((1, 2), keepdim=True) + 8))[:, None]


def _batches(count: int, epochs: int) -> Iterator[torch.Tensor]:
    for _ in range(epochs):
        order = torch.randperm(count)
        for start in range(0, count // 256 * 256, 256):
            yield order[start : start + 256]


def _optimiser(net: nn.Module, count: int, epochs: int, rate: float, decay: float) -> tuple[Any, Any]:
    optimiser = torch.optim.AdamW(net.parameters(), weight_decay=decay)
    return optimiser, torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, epochs * (count // 256))


def _step(loss: torch.Tensor, optimiser: Any, schedule: Any) -> None:
    optimiser.zero_grad()
    torch.autograd.backward(loss)
    optimiser.step()
    schedule.step()


@dataclass
class Learnt:
    """What is gathered of the faces that teach.

    Attributes:
        eyes: ``(4 N, F)``: both eyes of two views of each face.
        shares: ``(4 N,)``: how far each is open.
        mouths: ``(3 N, F)``.
        wide: ``(N, 2, 32, 44)``.
        gaps: ``(N,)``.
        labelled: ``(8 M, 32, 44)``: wide patches of those with a label.
        parted: ``(8 M,)``.
    """

    eyes: list[Numbers]
    shares: list[float]
    mouths: list[Numbers]
    wide: list[list[Grey]]
    gaps: list[float]
    labelled: list[Grey]
    parted: list[bool]


def teaching(data: Path) -> dict[str, list[str]]:
    """Names of the faces that may teach: nobody in them, and no twin, has a label of another part."""
    random, chosen = np.random.default_rng(0), {}
    for where, (table, column) in _GROUP.items():
        with (data / table).open(newline="", encoding="utf-8") as lines:
            group = {row["name"]: row[column] for row in csv.DictReader(lines)}
        told = {label.name: label.part for label in labels() if label.set == where}
        kept_apart = {group[name] for name, part in told.items() if part != "learn"}
        with zipfile.ZipFile(data / ARCHIVES[where]) as archive:
            names = archive.namelist()
        drawn = {names[k] for k in random.permutation(len(names))[: _FACES[where]]}
        drawn |= {name for name, part in told.items() if part == "learn"}
        chosen[where] = sorted(name for name in drawn if group[name] not in kept_apart)
    assert SCIKIT_IMAGE not in chosen
    return chosen


def gather(data: Path) -> Learnt:
    """Look at every face that teaches."""
    random, net = np.random.default_rng(0), LandmarkNet()
    teacher = Teacher(data / "models" / "face_landmarker.task")
    known = {(label.set, label.name): label for label in labels() if label.part == "learn" and label.mouth}
    found = Learnt([], [], [], [], [], [], [])
    for where, name, image in pictures(data, teaching(data)):
        seen, taught = landmarks(net, image), teacher(image)
        if taught is None or seen.presence < 0.9:
            continue
        xy, lowest = np.asarray(seen.points[:, :2], np.float32), 0.45 if where == "muxspace" else 0.75
        jitter = random.normal(0, 0.012, (1, 2)).astype(np.float32) * np.linalg.norm(xy[33] - xy[263])
        for view, points in ((image, xy), (worse(image, random, lowest), xy + jitter)):
            found.eyes += [features(view, points, face_axes(points), eye) for eye in (RIGHT, LEFT)]
            found.shares += taught[:2]
        found.mouths += mouth_views(image, xy, random, lowest, _VIEWS)
        found.wide.append(wide_patches(image, xy, random, lowest, 2))
        found.gaps.append(taught[2])
        if (label := known.get((where, name))) is not None:
            found.labelled += wide_patches(image, xy, random, lowest, _LABELLED_VIEWS)
            found.parted += [label.mouth == "open"] * _LABELLED_VIEWS
    return found


def fit_eyes(views: Numbers, shares: Numbers) -> dict[str, Any]:
    """The eyes' weights."""
    from sklearn.neural_network import MLPRegressor

    mean, deviation = views.mean(0), views.std(0) + 1e-3
    model = MLPRegressor(
        hidden_layer_sizes=(16,), alpha=0.5, early_stopping=True, max_iter=60, random_state=0, learning_rate_init=2e-3
    ).fit((views - mean) / deviation, np.clip(shares, -0.5, 1.5))
    (hidden, outer), (hidden_bias, bias) = model.coefs_, model.intercepts_
    scaled = hidden / deviation[:, None]
    return {
        "eye_shape": scaled[: 2 * len(RIGHT.points)].astype(np.float32),
        "eye_hidden": scaled[2 * len(RIGHT.points) :].astype(np.float32),
        "eye_hidden_bias": (hidden_bias - mean @ scaled).astype(np.float32),
        "eye_out": outer[:, 0].astype(np.float32),
        "eye_bias": np.float32(bias[0]),
    }


def main(arguments: list[str] | None = None) -> int:
    """Learn both nets and write them."""
    parser = argparse.ArgumentParser(prog="python -m tests.scenes.openness_fit", description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("openness.npz"))
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    found, numbers = gather(given.data), np.float32
    gaps = np.array(found.gaps, numbers)
    wide = wide_gaps(np.array(found.wide), gaps, np.array(found.labelled), np.array(found.parted, numbers))
    mouth = fit_mouth(np.stack(found.mouths), np.repeat((gaps + wide) / 2, _VIEWS))
    np.savez(given.out, **fit_eyes(np.stack(found.eyes), np.array(found.shares, numbers)), **mouth)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
