"""FER+ stills as arrays: pixels, votes, and the five landmarks that the daemon's aligned crop needs.

A still is read once, its landmarks are found once, and both are kept as plain arrays in a cache folder that is never
committed. Every later stage cuts its crops from there through the template of :class:`engine.spec.CropGeometry`.
"""

from __future__ import annotations

import csv
import hashlib
import zipfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.errors import DferError
from engine.files import replace_file
from engine.spec import SEVEN_CLASSES, canonical_class
from stream.offline.align import CropAligner

VOTES = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt", "unknown", "NF")
"""Vote columns in FER+'s own order."""

STILL_PX = 48
CACHE_VERSION = 3


class FacesError(DferError):
    """Training stills that cannot be read: the message names the file and the remedy."""


@dataclass(frozen=True)
class Stills:
    """N grey stills with their votes.

    Attributes:
        names: File names within the archive.
        grey: ``(N, 48, 48)`` uint8.
        points: ``(N, 5, 2)`` float32, px of the still, in the template's order; the typical face where none was found.
        found: ``(N,)`` bool, whether landmarks were found.
        votes: ``(N, 10)`` float32 vote counts, columns :data:`VOTES`.
        original: ``(N,)`` int64 class of the original FER2013 label in :data:`~engine.spec.SEVEN_CLASSES`.
        cluster: ``(N,)`` int64 twin cluster.
        first: ``(N,)`` bool, first still of its cluster.
        sha256: Hash of the archive and its table.
    """

    names: tuple[str, ...]
    grey: NDArray[np.uint8]
    points: NDArray[np.float32]
    found: NDArray[np.bool_]
    votes: NDArray[np.float32]
    original: NDArray[np.int64]
    cluster: NDArray[np.int64]
    first: NDArray[np.bool_]
    sha256: str

    def __len__(self) -> int:
        return len(self.names)

    @property
    def seven(self) -> NDArray[np.float32]:
        """``(N, 7)`` votes for the seven emotions in :data:`~engine.spec.SEVEN_CLASSES` order."""
        return self.votes[:, [VOTES.index(name) for name in SEVEN_CLASSES]]

    @property
    def plurality(self) -> NDArray[np.int64]:
        """``(N,)`` class with strictly more votes than every other column; -1 where none of the seven has."""
        seven = self.seven
        strict = (self.votes >= seven.max(1, keepdims=True)).sum(1) == 1
        return np.where(strict, seven.argmax(1), -1).astype(np.int64)

    @property
    def usable(self) -> NDArray[np.bool_]:
        """``(N,)`` the stills that scores count: first of their cluster, strict plurality."""
        return self.first & (self.plurality >= 0)

    def select(self, rows: NDArray[Any]) -> Stills:
        """The stills of these rows (indices or mask)."""
        index = np.flatnonzero(rows) if rows.dtype == np.bool_ else rows
        return Stills(
            tuple(self.names[i] for i in index), self.grey[index], self.points[index], self.found[index],
            self.votes[index], self.original[index], self.cluster[index], self.first[index], self.sha256,
        )  # fmt: skip


def _read_part(task: tuple[str, list[str]]) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.bool_]]:
    archive, names = task
    cv2.setNumThreads(1)
    grey = np.zeros((len(names), STILL_PX, STILL_PX), np.uint8)
    points = np.zeros((len(names), 5, 2), np.float32)
    found = np.zeros(len(names), np.bool_)
    # The aligner of `dfer-stream score --faces`: what a user's crops meet is what the encoder learns from.
    aligner = CropAligner()
    with zipfile.ZipFile(archive) as stills:
        for row, name in enumerate(names):
            image = cv2.imdecode(np.frombuffer(stills.read(name), np.uint8), cv2.IMREAD_GRAYSCALE)
            if image is None or image.shape != (STILL_PX, STILL_PX):
                raise FacesError(f"{archive}: {name} is not a {STILL_PX} px image; unpack the data set afresh")
            grey[row] = image
            placed = aligner.points(np.asarray(cv2.cvtColor(image, cv2.COLOR_GRAY2RGB), np.uint8))
            points[row], found[row] = placed.points5, placed.found
    return grey, points, found


def _parts(archive: Path, names: list[str], size: int) -> Iterator[tuple[str, list[str]]]:
    for start in range(0, len(names), size):
        yield str(archive), names[start : start + size]


def load_split(folder: Path, split: str, cache: Path, workers: int = 2) -> Stills:
    """Read one split of FER+, from the cache where it has been read before.

    Args:
        folder: Folder with ``<split>.zip`` and ``<split>.csv``.
        split: ``"train"`` or ``"dev"``.
        cache: Folder for the arrays; made where it is missing.
        workers: Processes that look for landmarks.

    Returns:
        The stills in the table's order.

    Raises:
        FacesError: Where a file is missing or broken.
    """
    archive, table = folder / f"{split}.zip", folder / f"{split}.csv"
    for path in (archive, table):
        if not path.is_file():
            raise FacesError(f"{path} is missing; name the folder with FER+'s {split}.zip and {split}.csv")
    digest = hashlib.sha256(archive.read_bytes() + table.read_bytes()).hexdigest()
    with table.open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    names = [row["name"] for row in rows]
    stored = cache / f"ferplus-{split}-v{CACHE_VERSION}-{digest[:16]}.npz"
    if not stored.is_file():
        with ProcessPoolExecutor(workers) as pool:
            parts = list(pool.map(_read_part, _parts(archive, names, 1000)))
        grey, points, found = (np.concatenate(column) for column in zip(*parts, strict=True))
        replace_file(stored, lambda temporary: np.savez(temporary, grey=grey, points=points, found=found))
    with np.load(stored, allow_pickle=False) as arrays:
        grey, points, found = arrays["grey"], arrays["points"], arrays["found"]
    return Stills(
        names=tuple(names), grey=grey, points=points, found=found,
        votes=np.array([[float(row[column]) for column in VOTES] for row in rows], np.float32),
        original=np.array([SEVEN_CLASSES.index(canonical_class(row["fer2013_label"])) for row in rows]),
        cluster=np.array([int(row["twin_cluster"]) for row in rows]),
        first=np.array([row["first_of_cluster"] == "1" for row in rows]),
        sha256=digest,
    )  # fmt: skip


def hold_out(stills: Stills, share: float) -> NDArray[np.bool_]:
    """Rows for validation, whole twin clusters at a time, the same in every run.

    Args:
        stills: The training split.
        share: Share of the clusters to hold out, [0, 1).

    Returns:
        ``(N,)`` bool mask.
    """
    hashed = {c: int(hashlib.sha256(f"validation-{c}".encode()).hexdigest()[:8], 16) for c in set(stills.cluster)}
    return np.array([hashed[c] < share * 2**32 for c in stills.cluster])
