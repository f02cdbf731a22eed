"""Hand labels of eyes and mouths, and how often ``stream/faces/signals.py`` agrees with them.

    python -m tests.scenes.openness --data DIR

The labels (``openness_labels.csv``) were set by eye on contact sheets in shuffled order that showed no score: an eye is
open or shut, a mouth open where a gap or teeth show; what could not be told, or differed at a second look, has
no label. ``learn`` teaches (``openness_fit.py`` makes the weights), ``choose`` set the scale and the bounds, ``test``
was looked at with three sets of weights. ``unseen`` holds mouths alone and was looked at once: of 320 faces drawn by
chance, of people and twins that no other part holds, 87 could not be told. Of scikit-image's pictures one face is large
enough.

DIR holds ``ferplus/train.zip`` and ``muxspace/ood_dev.zip``.
"""

from __future__ import annotations

import argparse
import csv
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from stream.faces.nets.landmarks import LandmarkNet, Landmarks
from stream.faces.nets.regions import Region, region_of_landmarks
from stream.faces.pose import head_pose
from stream.faces.signals import LIPS_APART, SignalReader

LABELS = Path(__file__).parent / "openness_labels.csv"
ARCHIVES = {"ferplus": "ferplus/train.zip", "muxspace": "muxspace/ood_dev.zip"}
SCIKIT_IMAGE = "scikit-image"
_LOOKS = (1.25, 1.75, 1.0)
PARTS = ("choose", "test", "unseen")


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
    """Eyes and mouths of one of :data:`PARTS`."""
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


def main(arguments: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.scenes.openness", description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    given = parser.parse_args(arguments)
    for part in given.parts:
        for what, tally in measure(given.data, part).items():
            counts = f"{tally.right} right, {tally.wrong} wrong, {tally.unjudged} not judged"
            print(f"{part} {what}: {counts}, {tally.share:.3f}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
