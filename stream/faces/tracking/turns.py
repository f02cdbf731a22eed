"""Whose turn it is to look where: two detectors and the tiles of the frame."""

from __future__ import annotations

from dataclasses import dataclass

from stream.faces.nets.regions import Region


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
