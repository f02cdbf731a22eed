"""Marked sequences composed from faces that no choice has seen: rest, an expression, rest, another one, rest.

``python -m tests.scenes.marked.compose DATA OUT`` reads ``DATA/muxspace`` (photographs of one person, at rest and not,
as looked at by hand: ``pairs.csv``) and ``DATA/ferplus/dev`` (faces that most of ten voters agreed on) and writes
videos and ``segments.csv``. A face turns into the next one by a cut or by a warp of its landmarks; half of the videos
are dim, noisy, blurred or badly compressed copies. Whose rest it is decides whether a sequence is for choosing or for
checking. The same seed gives the same videos. They are composed: what is measured on them is called so.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import RBFInterpolator

from calibration.metrics.dynamics import REST, RESTLESS
from engine.console import Exit, guarded
from engine.errors import DferError
from stream.faces.nets.landmarks import LandmarkNet
from stream.faces.nets.regions import Region, region_of_landmarks

Image = NDArray[np.uint8]
Points = NDArray[np.float64]

FPS = 25
SIZE = (360, 280)
FACE_PX = 190
LEAST_VOTES = 8
"""Of ten, for one class: the voters are as sure as they get."""
FER_SEQUENCES = 30
RESTLESS_SEQUENCES = 10
_HANDLES = np.array(
    (10, 67, 297, 103, 332, 127, 356, 132, 361, 172, 397, 150, 379, 152, 33, 133, 362, 263, 159, 145, 386, 374, 70, 105,
     107, 300, 334, 336, 6, 1, 98, 327, 61, 291, 0, 17, 13, 14, 37, 267, 84, 314, 205, 425)
)  # fmt: skip
"""FaceMesh landmarks that carry a warp: outline, lids, brows, nose, lips, cheeks."""


@dataclass(frozen=True, eq=False)
class Still:
    """A face on the sequence's canvas, ``(H, W)`` float32 grey, and the handles of its warp, ``(N, 2)`` px."""

    canvas: NDArray[np.float32]
    points: Points


@dataclass(frozen=True)
class Stretch:
    """One still for a while, and how long it takes to turn into it (0 is a cut)."""

    still: Still
    shows: str
    length_s: float
    turn_s: float


class Stills:
    """Finds a face in a picture and brings it to one place and size on the canvas."""

    def __init__(self) -> None:
        self._net = LandmarkNet()

    def place(self, picture: Image) -> Still | None:
        """The face of a picture that it fills, or None where none is found."""
        grey = cv2.cvtColor(cv2.resize(picture, (FACE_PX, FACE_PX), interpolation=cv2.INTER_CUBIC), cv2.COLOR_BGR2GRAY)
        rgb = np.asarray(cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB), np.uint8)
        found = self._net.run(rgb, Region(FACE_PX / 2, FACE_PX / 2, 1.25 * FACE_PX))
        found = self._net.run(rgb, region_of_landmarks(found.points, 1.5))
        if found.presence < 0.97:
            return None
        at = found.points[_HANDLES, :2].astype(np.float64)
        # Eyes and mouth to one place, so that a face does not jump where it turns into the next.
        source = np.stack([at[14:18].mean(0), at[[32, 33]].mean(0)])
        middle, eyes = SIZE[0] / 2, SIZE[1] * 0.42
        matrix = _similarity(source, np.array([[middle, eyes], [middle, eyes + 0.33 * FACE_PX]]))
        canvas = cv2.warpAffine(
            grey.astype(np.float32), matrix, SIZE, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        inside = cv2.warpAffine(np.ones(grey.shape, np.float32), matrix, SIZE)
        soft = cv2.GaussianBlur(cv2.erode(inside, np.ones((9, 9))), (0, 0), 4)
        around = cv2.GaussianBlur(canvas, (0, 0), 25)
        mixed = np.asarray(canvas * soft + around * (1 - soft), np.float32)
        return Still(mixed, at @ matrix[:, :2].T + matrix[:, 2])


def frames(stretches: Sequence[Stretch], rng: np.random.Generator) -> Iterator[Image]:
    """The frames of a sequence, grey as RGB: the head drifts, leans and comes nearer, the sensor is a little noisy."""
    phase, pace = rng.uniform(0, 6.28, 4), rng.uniform(0.5, 1.3, 4)
    number = 0
    for k, stretch in enumerate(stretches):
        turning = round(stretch.turn_s * FPS) if k else 0
        for step in range(round(stretch.length_s * FPS)):
            share = 1.0 if step >= turning else (step + 1) / (turning + 1)
            face = stretch.still.canvas if share == 1 else morph(stretches[k - 1].still, stretch.still, share)
            sway = np.sin(phase + pace * number / FPS)
            matrix = cv2.getRotationMatrix2D((SIZE[0] / 2, SIZE[1] / 2), 4 * sway[0], 1 + 0.05 * sway[1])
            matrix[:, 2] += 7 * sway[2:]
            moved = cv2.warpAffine(face, matrix, SIZE, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
            noisy = moved + rng.normal(0, 1.5, moved.shape)
            yield np.repeat(np.clip(np.rint(noisy), 0, 255).astype(np.uint8)[..., None], 3, 2)
            number += 1


def morph(before: Still, after: Still, share: float) -> NDArray[np.float32]:
    """Between two stills: each warped to where the landmarks are at that share of the way, then mixed."""
    at = (1 - share) * before.points + share * after.points
    mixed = np.zeros(before.canvas.shape, np.float32)
    for still, weight in ((before, 1 - share), (after, share)):
        x, y = np.moveaxis(_field(at, still.points), 2, 0)
        mixed += weight * cv2.remap(still.canvas, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return mixed


def degraded(frame: Image, how: str, rng: np.random.Generator) -> Image:
    """A dim, a noisy, a blurred or a badly compressed copy."""
    if how == "dim":
        dim = 0.22 * frame + rng.normal(0, 2.5, frame.shape[:2])[..., None]
        return np.clip(np.rint(dim), 0, 255).astype(np.uint8)
    if how == "noise":
        return np.clip(np.rint(frame + rng.normal(0, 14, frame.shape[:2])[..., None]), 0, 255).astype(np.uint8)
    if how == "blur":
        return np.asarray(cv2.GaussianBlur(frame, (0, 0), 2.5), np.uint8)
    coded = cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, 12])[1]
    return np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR), np.uint8)


HOW = ("dim", "noise", "blur", "jpeg")


def photographs(data: Path, stills: Stills) -> Iterator[tuple[str, Still, str, Still]]:
    """Pairs of one person: name, at rest, what the other shows, the other."""
    with (data / "muxspace" / "ood_dev.csv").open(encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    read = _Pictures(data / "muxspace" / "ood_dev.zip")
    with Path(__file__).with_name("pairs.csv").open(encoding="utf-8", newline="") as file:
        for pair in csv.DictReader(file):
            rows = [table[int(pair[column])] for column in ("rest", "expression")]
            rest, other = (stills.place(read(row["name"])) for row in rows)
            if rest is not None and other is not None:
                yield rows[0]["identity_hash"], rest, pair["shows"], other


def voted(data: Path, stills: Stills, rng: np.random.Generator) -> Iterator[tuple[str, Still, str, Still]]:
    """Pairs of two people by FER+: one that all but two voters call neutral, one of another class; classes by turns."""
    with (data / "ferplus" / "dev.csv").open(encoding="utf-8", newline="") as file:
        table = [row for row in csv.DictReader(file) if row["first_of_cluster"] == "1"]
    read = _Pictures(data / "ferplus" / "dev.zip")
    classes = (
        "sadness",
        "anger",
        "surprise",
        "happiness",
        "fear",
        "sadness",
        "anger",
        "surprise",
        "happiness",
        "disgust",
    )
    by_class = {}
    for name in dict.fromkeys((REST, *classes)):
        sure = [row for row in table if int(row[name]) >= LEAST_VOTES]
        by_class[name] = [sure[k] for k in rng.permutation(len(sure))]
    made = 0
    for shows in itertools.cycle(classes):
        while made < FER_SEQUENCES and by_class[shows] and by_class[REST]:
            row, other_row = by_class[REST].pop(), by_class[shows].pop()
            rest, other = stills.place(read(row["name"])), stills.place(read(other_row["name"]))
            if rest is not None and other is not None:
                made += 1
                yield row["twin_cluster"], rest, shows, other
                break
        if made == FER_SEQUENCES:
            return


def restless(data: Path, stills: Stills, rng: np.random.Generator) -> Iterator[tuple[str, list[Still]]]:
    """Of one person each, name and photographs that follow each other like grimaces: a face that speaks and acts."""
    with (data / "muxspace" / "ood_dev.csv").open(encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    read = _Pictures(data / "muxspace" / "ood_dev.zip")
    by_person: dict[str, list[str]] = {}
    for row in table:
        by_person.setdefault(row["identity_hash"], []).append(row["name"])
    many = sorted(person for person, names in by_person.items() if len(names) >= 9)
    for person in rng.permutation(many)[:RESTLESS_SEQUENCES]:
        found = [stills.place(read(name)) for name in rng.permutation(by_person[person])[:12]]
        yield str(person), [still for still in found if still is not None]


def compose(data: Path, out: Path, seed: int) -> int:
    """Write all sequences and their segments; returns how many videos."""
    out.mkdir(parents=True, exist_ok=True)
    stills, rng = Stills(), np.random.default_rng(seed)
    rows: list[list[str]] = []
    count = 0
    pairs = [("news", pair) for pair in photographs(data, stills)]
    pairs += [("fer", pair) for pair in voted(data, stills, rng)]
    people: dict[str, str] = {}
    for number, (source, (person, rest, shows, other)) in enumerate(pairs):
        part = people.setdefault(person, ("choose", "check")[len(people) % 2])
        turns = rng.choice([0.0, 0.12, 0.24, 0.4], 4, p=[0.25, 0.25, 0.25, 0.25])
        lengths = rng.uniform([2.4, 1.4, 1.8, 1.2, 1.6], [3.0, 2.2, 2.4, 1.8, 2.0])
        sequence = [
            Stretch(still, name, float(length), float(turn))
            for still, name, length, turn in zip(
                (rest, other) * 2 + (rest,), (REST, shows) * 2 + (REST,), lengths, [0, *turns], strict=True
            )
        ]
        shot = list(frames(sequence, rng))
        how = HOW[number % len(HOW)]
        for name, made in ((f"{source}{number:02}", shot), (f"{source}{number:02}-{how}", None)):
            _write(out / f"{name}.avi", made if made is not None else (degraded(each, how, rng) for each in shot))
            rows += segments_of(name, part, f"{source}-{person}", sequence)
            count += 1
    for number, (person, faces) in enumerate(restless(data, stills, rng)):
        part = people.setdefault(person, ("choose", "check")[len(people) % 2])
        acted = [Stretch(faces[k % len(faces)], RESTLESS, float(rng.uniform(0.25, 0.6)), 0.16) for k in range(18)]
        length_s = sum(round(each.length_s * FPS) for each in acted) / FPS
        _write(out / f"restless{number}.avi", frames(acted, rng))
        rows.append([f"restless{number}", "0.00", f"{length_s:.2f}", RESTLESS, part, f"news-{person}"])
        count += 1
    with (out / "segments.csv").open("w", encoding="utf-8", newline="") as file:
        writer_of_rows = csv.writer(file, lineterminator="\n")
        writer_of_rows.writerow(["clip", "t0", "t1", "expression", "part", "person"])
        writer_of_rows.writerows(rows)
    return count


def _write(path: Path, shot: Iterable[Image]) -> None:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), FPS, SIZE)
    writer.set(cv2.VIDEOWRITER_PROP_QUALITY, 97)
    for frame in shot:
        writer.write(frame)
    writer.release()


def segments_of(clip: str, part: str, person: str, sequence: Sequence[Stretch]) -> list[list[str]]:
    """A segment begins and ends where half of the turn is done; rest ends where anything begins to move."""
    starts = [float(at) for at in np.concatenate([[0], np.cumsum([round(e.length_s * FPS) / FPS for e in sequence])])]
    halves = [
        0.0,
        *(start + each.turn_s / 2 for start, each in zip(starts[1:], sequence[1:], strict=False)),
        starts[-1],
    ]
    begins = halves[:-1]
    ends = [starts[k + 1] if each.shows == REST else halves[k + 1] for k, each in enumerate(sequence)]
    return [
        [clip, f"{t0:.2f}", f"{t1:.2f}", each.shows, part, person]
        for t0, t1, each in zip(begins, ends, sequence, strict=True)
    ]


class _Pictures:
    """Reads pictures of an archive by their names."""

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise DferError(f"{path} is not here", "give the folder that holds ferplus/ and muxspace/")
        self._archive = zipfile.ZipFile(path)
        self._members = {Path(name).name: name for name in self._archive.namelist()}

    def __call__(self, name: str) -> Image:
        data = np.frombuffer(self._archive.read(self._members[name]), np.uint8)
        return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)


def _similarity(source: Points, target: Points) -> NDArray[np.float64]:
    """``(2, 3)`` that takes two points onto two others."""
    a, b = (complex(*each) for each in source.tolist())
    c, d = (complex(*each) for each in target.tolist())
    turn = (d - c) / (b - a)
    shift = c - turn * a
    return np.array([[turn.real, -turn.imag, shift.real], [turn.imag, turn.real, shift.imag]])


def _field(target: Points, source: Points, step: int = 8) -> NDArray[np.float32]:
    """Where each pixel comes from, ``(H, W, 2)``, so that `source` comes to lie at `target`."""
    width, height = SIZE
    edge = np.array([[x, y] for x in (0, width / 2, width) for y in (0, height / 2, height)], np.float64)[
        [0, 1, 2, 3, 5, 6, 7, 8]
    ]
    spline = RBFInterpolator(np.vstack([target, edge]), np.vstack([source - target, 0 * edge]), kernel="linear")
    xs, ys = np.arange(0, width + step, step), np.arange(0, height + step, step)
    grid = np.stack(np.meshgrid(xs, ys), -1).reshape(-1, 2).astype(np.float64)
    coarse = spline(grid).reshape(len(ys), len(xs), 2).astype(np.float32)
    fine = cv2.resize(coarse, (len(xs) * step, len(ys) * step), interpolation=cv2.INTER_LINEAR)[:height, :width]
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    return np.asarray(np.stack([x, y], -1) + fine, np.float32)


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.scenes.marked.compose", description=__doc__)
    parser.add_argument("data", type=Path, help="holds ferplus/ and muxspace/")
    parser.add_argument("out", type=Path, help="folder for the videos and segments.csv")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()

    def make() -> int:
        print(f"{compose(options.data, options.out, options.seed)} videos in {options.out}")
        return Exit.DONE

    return guarded("compose", make)


if __name__ == "__main__":
    raise SystemExit(main())
