"""One ring of features for the windows of all cameras of a process, so that one call scores the faces of several."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from engine.backends import Backend
from engine.ring import FeatureRing


class SharedRing:
    """The ring, and whose turn it is to encode.

    Args:
        backend: Where it lies.
        faces: Slots.
        length: Features kept per slot.

    Attributes:
        ring: Empty after each change of the back end.
        encoding: Held while the encoder runs: steps that run beside the frames must not meet another camera's.
    """

    def __init__(self, backend: Backend, faces: int, length: int) -> None:
        self._backend, self._faces, self._length = backend, faces, length
        self.ring: FeatureRing = backend.ring(faces, length)
        self.encoding = threading.Lock()

    def replace(self, backend: Backend) -> None:
        """Make it anew for another back end, once for all windows in it."""
        if backend is not self._backend:
            self._backend, self.ring = backend, backend.ring(self._faces, self._length)


@dataclass(frozen=True)
class RingShare:
    """One camera's slots of a ring."""

    of: SharedRing
    slots: range
