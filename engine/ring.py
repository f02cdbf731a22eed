"""The sliding window: features of finished units, kept in place, gathered by index.

A new feature is written to its place and nothing is shifted. The head's graph gathers its own windows from
:attr:`FeatureRing.flat` by the rows that :meth:`FeatureRing.index` names, so windows of any faces, phases and
strides form one batch without a copy, and the buffer's address never changes. The arithmetic is here once;
what holds the numbers is a :class:`Storage`: NumPy memory here, device memory in :mod:`engine.backends.cuda`.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray


class Storage(Protocol):
    """Rows of features somewhere: the part of a ring that differs between devices."""

    @property
    def flat(self) -> Any:
        """All rows, ``(R, D)``, as the device's head takes them; the same memory for ever."""

    def write(self, row: int, feature: Any) -> None:
        """Put a feature ``(D,)`` into a row."""

    def copy(self, target: int, source: int) -> None:
        """Copy one row onto another."""


class HostStorage:
    """Rows in NumPy memory, aligned to 64 bytes so that a back end can read them in place.

    Args:
        rows: R.
        width: D.
        dtype: float32 or float16.
    """

    def __init__(self, rows: int, width: int, dtype: DTypeLike) -> None:
        kind = np.dtype(dtype)
        raw = np.zeros(rows * width * kind.itemsize + 64, np.uint8)
        start = -raw.ctypes.data % 64
        self._rows = raw[start : start + rows * width * kind.itemsize].view(kind).reshape(rows, width)

    @property
    def flat(self) -> NDArray[Any]:
        """``(R, D)``, no copy."""
        return self._rows

    def write(self, row: int, feature: NDArray[np.floating]) -> None:
        """Put a feature ``(D,)`` into a row."""
        if np.shape(feature) != self._rows.shape[1:]:
            raise ValueError(f"a feature has shape {self._rows.shape[1:]}, not {np.shape(feature)}")
        self._rows[row] = feature

    def copy(self, target: int, source: int) -> None:
        """Copy one row onto another."""
        self._rows[target] = self._rows[source]


class FeatureRing:
    """The newest ``length`` features of each of ``faces`` slots.

    Args:
        faces: F, slots.
        length: Features kept per slot: k * W for a window of W taken at every k-th entry.
        width: D, numbers per feature.
        dtype: dtype of the rows.
        storage: Holds the ``faces * length`` rows; NumPy memory if not given.
    """

    def __init__(
        self,
        faces: int,
        length: int,
        width: int,
        dtype: DTypeLike = "float32",
        storage: Storage | None = None,
    ) -> None:
        if faces < 1 or length < 1 or width < 1:
            raise ValueError(f"faces, length and width must be at least 1, not {faces}, {length}, {width}")
        self.faces, self.length, self.width = faces, length, width
        self.dtype = np.dtype(dtype)
        self._storage: Storage = storage or HostStorage(faces * length, width, self.dtype)
        self._next = [0] * faces  # where the next feature of a slot goes
        self._fill = [0] * faces

    @property
    def flat(self) -> Any:
        """All rows of all slots, ``(R, D)`` with R = faces * length: the head's ``ring`` input, no copy."""
        return self._storage.flat

    def push(self, slot: int, feature: Any) -> None:
        """Append a feature to a slot; the oldest one makes room.

        Args:
            slot: 0 to F - 1.
            feature: ``(D,)``: a row of what the back end's ``encode`` gave.
        """
        self._storage.write(self._row(slot, self._next[slot]), feature)
        self._advance(slot)

    def repeat(self, slot: int) -> None:
        """Append the slot's newest feature once more: what a missed tick counts as.

        Raises:
            ValueError: If the slot is empty.
        """
        if not self._fill[slot]:
            raise ValueError(f"slot {slot} is empty: there is nothing to repeat")
        newest = (self._next[slot] - 1) % self.length
        self._storage.copy(self._row(slot, self._next[slot]), self._row(slot, newest))
        self._advance(slot)

    def fill(self, slot: int) -> int:
        """Features the slot holds, 0 to ``length``."""
        return self._fill[slot]

    def count(self, slot: int, window: int, stride: int = 1) -> int:
        """Entries of :meth:`index` that are no padding: ``window`` when the window is full."""
        return min(window, -(-self._fill[slot] // stride))

    def index(self, slot: int, window: int, stride: int = 1) -> NDArray[np.int32]:
        """Rows of :attr:`flat` that make the slot's newest window.

        Every ``stride``-th entry counting back from the newest. Entries older than what the slot holds point
        at the oldest one that such a walk reaches, so that a strided window equals the plain window of a
        source sampled ``stride`` times more slowly.

        Args:
            slot: 0 to F - 1.
            window: W.
            stride: k; ``(window - 1) * stride`` must stay below ``length``.

        Returns:
            ``(W,)`` int32, oldest first.

        Raises:
            ValueError: If the slot is empty or the ring too short for such a window.
        """
        fill = self._fill[slot]
        if not fill:
            raise ValueError(f"slot {slot} is empty: it has no window")
        if window < 1 or stride < 1 or (window - 1) * stride >= self.length:
            raise ValueError(f"{window} entries at stride {stride} do not fit a ring of {self.length}")
        age = np.minimum(np.arange(window - 1, -1, -1), (fill - 1) // stride) * stride
        place = (self._next[slot] - 1 - age) % self.length
        return (slot * self.length + place).astype(np.int32)

    def reset(self, slot: int) -> None:
        """Forget everything the slot holds."""
        self._next[slot] = self._fill[slot] = 0

    def _row(self, slot: int, place: int) -> int:
        if not 0 <= slot < self.faces:
            raise IndexError(f"slot {slot} is outside 0..{self.faces - 1}")
        return slot * self.length + place

    def _advance(self, slot: int) -> None:
        self._next[slot] = (self._next[slot] + 1) % self.length
        self._fill[slot] = min(self._fill[slot] + 1, self.length)
