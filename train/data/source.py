"""Where clips come from, behind one small interface: the disk, or the synthetic generator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from train.data.augment.sequence import Frames
from train.data.frames import read_frames
from train.data.layouts.synthetic import SyntheticClips
from train.data.sources import CountedClip


class Source(Protocol):
    """A sequence of labelled clips whose frames can be read by number."""

    def __len__(self) -> int:
        """Number of clips."""

    def name(self, index: int) -> str:
        """The clip's name."""

    def label(self, index: int) -> str:
        """The clip's class."""

    def group(self, index: int) -> str:
        """Subject or movie, or ``""``."""

    def frame_count(self, index: int) -> int:
        """N of the clip."""

    def truth(self, index: int) -> np.ndarray | None:
        """``(n,)`` bool where known and localisable."""

    def frames(self, index: int, indices: Sequence[int]) -> list[Frames]:
        """Images ``(H, W, 3)`` uint8 RGB."""


class DiskSource:
    """Counted clips on the disk."""

    def __init__(self, clips: Sequence[CountedClip]) -> None:
        self._clips = list(clips)

    def __len__(self) -> int:
        return len(self._clips)

    def name(self, index: int) -> str:
        """The clip's name."""
        return self._clips[index].clip.name

    def label(self, index: int) -> str:
        """The clip's class."""
        return self._clips[index].clip.label

    def group(self, index: int) -> str:
        """Subject or movie, or ``""``."""
        return self._clips[index].clip.group

    def frame_count(self, index: int) -> int:
        """Frames on the disk."""
        return self._clips[index].frames

    def truth(self, index: int) -> np.ndarray | None:
        """``(n,)`` bool where the set states it."""
        truth = self._clips[index].clip.truth
        return None if truth is None else np.array(truth, bool)

    def frames(self, index: int, indices: Sequence[int]) -> list[Frames]:
        """Read frames.

        Raises:
            DataError: If a frame has become unreadable since it was counted.
        """
        return read_frames(self._clips[index].clip, indices)


class SyntheticSource:
    """Synthetic clips, drawn once and kept."""

    def __init__(self, clips: SyntheticClips) -> None:
        self._clips = [clips[i] for i in range(len(clips))]

    def __len__(self) -> int:
        return len(self._clips)

    def name(self, index: int) -> str:
        """The clip's name."""
        return self._clips[index].name

    def label(self, index: int) -> str:
        """The clip's class."""
        return self._clips[index].label

    def group(self, index: int) -> str:
        """The identity."""
        return self._clips[index].group

    def frame_count(self, index: int) -> int:
        """Frames of the clip."""
        return len(self._clips[index].frames)

    def truth(self, index: int) -> np.ndarray | None:
        """``(n,)`` bool, None where noise cannot be told from truth."""
        clip = self._clips[index]
        return clip.truth if clip.localisable else None

    def frames(self, index: int, indices: Sequence[int]) -> list[Frames]:
        """Frames by number."""
        return [self._clips[index].frames[i] for i in indices]
