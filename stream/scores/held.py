"""Faces over a frame that shows nothing new (damaged, or of one colour): those of the frame before it. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from stream.publish.message import Face

HOLD_NS = 200_000_000
"""Longest that faces are held; what lasts longer is looked at as it is. With the frame after it still within the gap of
250 ms that a window survives."""


class HeldFaces:
    """Remembers what the last good frame showed."""

    def __init__(self) -> None:
        self._faces: list[Face] = []
        self._good_ns: int | None = None
        self._seen_ns = 0

    def keep(self, faces: Sequence[Face], t_ns: int, fault: str) -> None:
        """Take what a frame showed; one with a fault, looked at all the same, does not begin a new hold."""
        self._faces = [face for face in faces if face.state != "lost"]
        self._seen_ns = t_ns
        if not fault:
            self._good_ns = t_ns

    def hold(self, t_ns: int, fault: str) -> list[Face] | None:
        """The faces of a frame with a fault; None where it is to be looked at: no fault, or one for too long."""
        if not fault:
            return None
        if self._good_ns is None:
            self._good_ns = self._seen_ns = t_ns
        if t_ns - self._good_ns > HOLD_NS:
            return None
        older_ms = (t_ns - self._seen_ns) / 1e6
        self._seen_ns = t_ns
        self._faces = [_older(face, older_ms) for face in self._faces]
        return list(self._faces)

    def forget(self) -> None:
        """Nothing is held: a lost camera or another source."""
        self._faces, self._good_ns = [], None


def _older(face: Face, by_ms: float) -> Face:
    age_ms = None if face.score_age_ms is None else round(face.score_age_ms + by_ms, 1)
    state = "tracked" if face.state == "new" else face.state
    return msgspec.structs.replace(face, state=state, age_frames=face.age_frames + 1, score_age_ms=age_ms)
