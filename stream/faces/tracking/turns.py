"""Whose turn it is to look where: two detectors and the tiles of the frame."""

from __future__ import annotations

from dataclasses import dataclass

from stream.faces.nets.regions import Region

_FRUITLESS = 8
"""Runs in a row, of all detectors and a tile or two, that find nothing where something moves: half a second."""
_MORE, _FADE = 0.02, 0.98
"""Share of the picture beyond twice the usual that is somebody who comes; what is left of the usual after a run."""


def tiles(width: int, height: int) -> list[Region]:
    """Overlapping squares that cover a frame at twice the resolution of the whole.

    Args:
        width: Of the frame, px.
        height: Likewise.

    Returns:
        Squares of 0.55 times the longer side: a face of 20 px in a 480 px frame is then as large as the full-range
        detector needs, and a face on a seam is whole in one of them.
    """
    side = 0.55 * max(width, height)
    return [Region(x, y, side) for y in _centres(height, side) for x in _centres(width, side)]


def _centres(length: int, side: float) -> list[float]:
    if length <= side:
        return [length / 2]
    return [side / 2, length - side / 2] if length <= 1.7 * side else [side / 2, length / 2, length - side / 2]


@dataclass(frozen=True)
class DetectorRun:
    """One run of a detector.

    Attributes:
        detector: ``full`` or ``short``.
        region: Where it looks; None for the whole frame.
    """

    detector: str
    region: Region | None = None


class Search:
    """Whether an empty picture is worth a closer watch: where something begins to move, or more than usual does.

    What has moved for some while, and is no face, is a tree, a street, or the camera.
    """

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Nothing is known of this picture yet."""
        self._fruitless, self._usual = 0, 0.0

    def close(self, moved: float) -> bool:
        """Whether detectors are to run often.

        Args:
            moved: Share of the picture that moved since one last ran, 0..1.
        """
        if moved == 0 or moved > 2 * self._usual + _MORE:
            self._fruitless = 0
        return self._fruitless < _FRUITLESS

    def ran(self, moved: float, found: bool) -> None:
        """A detector ran, and found something or not."""
        self._fruitless = 0 if found else self._fruitless + 1
        self._usual = max(moved, _FADE * self._usual)


class Turns:
    """Deals out detector runs.

    After a start or a cut: both detectors on the whole frame at once, then every tile, one a frame. Later: full
    range, short range and one tile in turn.
    """

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Survey the picture anew."""
        self._first = True
        self._survey: int | None = 0
        self._turn = 0
        self._tile = 0

    @property
    def surveying(self) -> bool:
        """Whether tiles of a new picture are still to be looked at."""
        return self._survey is not None

    def take(self, width: int, height: int, small_faces: bool) -> list[DetectorRun]:
        """The runs of this frame.

        Args:
            width: Of the frame, px.
            height: Likewise.
            small_faces: Whether tiles are looked at.
        """
        if not small_faces:
            self._survey = None
        squares = tiles(width, height) if small_faces else []
        if self._first:
            self._first = False
            return [DetectorRun("full"), DetectorRun("short")]
        if self._survey is not None:
            square = squares[self._survey]
            self._survey = self._survey + 1 if self._survey + 1 < len(squares) else None
            return [DetectorRun("full", square)]
        turn, self._turn = self._turn, (self._turn + 1) % (3 if squares else 2)
        if turn == 2:
            self._tile = (self._tile + 1) % len(squares)
            return [DetectorRun("full", squares[self._tile])]
        return [DetectorRun("short" if turn == 0 else "full")]
