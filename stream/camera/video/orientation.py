"""How a picture is turned and mirrored before it is shown: the display matrix of its stream."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Orientation:
    """One of the eight ways in which a picture can lie.

    Attributes:
        quarters: Quarter turns clockwise, 0 to 3.
        mirrored: Whether it is mirrored left to right first.
    """

    quarters: int = 0
    mirrored: bool = False

    @property
    def swaps(self) -> bool:
        """Whether width and height change places."""
        return self.quarters % 2 == 1

    def apply(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Turn ``(H, W, C)``; the very same array where nothing is to be done."""
        if self.mirrored:
            image = image[:, ::-1]
        if self.quarters:
            image = np.rot90(image, -self.quarters)
        return np.ascontiguousarray(image)


def read_matrix(data: bytes) -> Orientation:
    """Read a display matrix as FFmpeg hands it on.

    Nine int32 of this machine's order, by rows: a b u, c d v, x y w (ISO/IEC 14496-12, 8.2.2). A point (p, q) of the
    picture is shown at (ap + cq, bp + dq), x to the right and y down. Angles between are taken for the nearest quarter.
    """
    if len(data) < 36:
        return Orientation()
    a, b, _, c, d = struct.unpack_from("=5i", data)
    if not (a * d - b * c):
        return Orientation()
    mirrored = a * d - b * c < 0
    if mirrored:
        # Mirroring left to right comes first: take it off, and what is left is a turn.
        a, b = -a, -b
    turned = float(np.degrees(np.arctan2(b, a)))
    return Orientation(round(turned / 90) % 4, mirrored)
