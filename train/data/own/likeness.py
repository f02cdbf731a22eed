"""Whether two clips are one: the same bytes, or the same pictures encoded again, scaled, darkened or mirrored.

A clip's look is eight of its frames as thumbnails. Copies agree in the picture (the difference hash, Krawetz 2013) and
in what moves in it (the thumbnails less their mean over time); two sentences of one person before one camera agree in
the picture alone. Halves of nine clips of talking heads and films: their motion correlates by -0.56 to 0.42; copies at
40 % of the size, as JPEGs of quality 30, darkened by a fifth, a frame later: by 0.68 to 1.00 (2026-11-28).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.bundle.files import file_sha256
from train.data.frames import frame_files, read_frames
from train.data.record import Clip

FRAMES, SIDE = 8, 12
MOST_BITS = 0.12
"""Largest share of a hash's bits in which copies differ."""
LEAST_MOTION = 0.6
"""Least correlation of what moves in copies."""
STILL_LEVELS = 0.5
"""Where less moves (root mean square, grey levels) the picture alone decides."""

Look = NDArray[np.uint8]
"""``(8, 12, 13)`` grey levels."""


@dataclass(frozen=True)
class Likeness:
    """What a clip is compared by.

    Attributes:
        name: The clip's name.
        sha256: Of its file, or of its frames.
        look: How it looks; None where only equal files count (crops of a face all look alike).
    """

    name: str
    sha256: str
    look: Look | None


@dataclass(frozen=True)
class Pair:
    """Two clips that are one.

    Attributes:
        first: One clip's name.
        second: The other's.
        same_bytes: Whether their files are equal; else they only look alike.
    """

    first: str
    second: str
    same_bytes: bool

    def __str__(self) -> str:
        return f"{self.first} {'is the same file as' if self.same_bytes else 'shows the same as'} {self.second}"


def file_hash(path: Path) -> str:
    """SHA-256 of a file, or of the hashes of a folder's frames in order."""
    if not path.is_dir():
        return file_sha256(path)
    return hashlib.sha256("".join(map(file_sha256, frame_files(path))).encode()).hexdigest()


def thumbnail(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A frame as a look sees it: ``(H, W, 3)`` uint8 RGB to ``(12, 13)`` grey levels."""
    small = cv2.resize(image, (SIDE + 1, SIDE), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), np.uint8)


def chosen_frames(count: int) -> list[int]:
    """The frames that make a look, of a clip of `count` frames; never its first and last where it has others."""
    return np.linspace(0, count - 1, FRAMES + 2)[1:-1].round().astype(int).tolist()  # type: ignore[no-any-return]


def look_of(clip: Clip, frames: int) -> Look:
    """How a clip looks.

    Args:
        clip: The clip.
        frames: How many frames it has.

    Raises:
        DataError: If its frames cannot be read.
    """
    return np.stack([thumbnail(image) for image in read_frames(clip, chosen_frames(frames))])


def pack(look: Look) -> str:
    """A look in hexadecimal."""
    return look.tobytes().hex()


def unpack(text: str) -> Look:
    """Inverse of :func:`pack`.

    Raises:
        ValueError: If `text` is no packed look.
    """
    return np.frombuffer(bytes.fromhex(text), np.uint8).reshape(FRAMES, SIDE, SIDE + 1)


class _Looks:
    """Looks side by side: hashes ``(N, 8 * 144)`` bool and motions ``(N, 8 * 156)`` of length 1, 0 where still."""

    def __init__(self, looks: Sequence[Look]) -> None:
        levels = np.stack(looks).astype(np.float32) if looks else np.zeros((0, FRAMES, SIDE, SIDE + 1), np.float32)
        self.bits = (levels[:, :, :, 1:] > levels[:, :, :, :-1]).reshape(len(looks), FRAMES * SIDE * SIDE)
        moves = (levels - levels.mean(axis=1, keepdims=True)).reshape(len(looks), FRAMES * SIDE * (SIDE + 1))
        size = np.sqrt((moves * moves).mean(axis=1))
        self.still = size < STILL_LEVELS
        self.moves = moves / np.maximum(np.linalg.norm(moves, axis=1, keepdims=True), 1e-6)

    def alike(self, other: _Looks) -> NDArray[np.bool_]:
        """Which of N looks are copies of the one other look, ``(N,)``."""
        same_picture = (self.bits != other.bits).mean(axis=1) <= MOST_BITS
        same_motion = (self.moves @ other.moves[0] >= LEAST_MOTION) | (self.still & other.still)
        return np.asarray(same_picture & same_motion)


def twins(first: Sequence[Likeness], second: Sequence[Likeness] | None = None) -> list[Pair]:
    """Pairs of clips that are one.

    Args:
        first: Clips.
        second: Those to compare with; None: `first` among themselves.
    """
    within = second is None
    others = first if second is None else second
    numbers = np.array([number for number, each in enumerate(others) if each.look is not None], int)
    theirs = _Looks([each.look for each in others if each.look is not None])
    pairs = []
    for own, each in enumerate(first):
        alike = {number for number, other in enumerate(others) if other.sha256 == each.sha256}
        if each.look is not None:
            found = theirs.alike(_Looks([each.look])) | theirs.alike(_Looks([each.look[:, :, ::-1]]))
            alike |= set(numbers[found].tolist())
        pairs += [
            Pair(each.name, others[number].name, others[number].sha256 == each.sha256)
            for number in sorted(alike)
            if not within or number > own
        ]
    return pairs
