"""Where clips come from, behind one small interface: the disk, or the synthetic generator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from train.data.augment.sequence import Frames
from train.data.frames import read_frames
from train.data.layouts.synthetic import SyntheticClips
from train.data.record import CountedClip


@dataclass(frozen=True)
class SourceClip:
    """What a source knows of a clip.

    Attributes:
        name: Unique within the source.
        label: Class name.
        group: Subject, movie or drawn face; ``""`` where unknown.
        frames: n.
        truth: ``(n,)`` bool, which frames show the expression, where that is known and can be told from noise.
    """

    name: str
    label: str
    group: str
    frames: int
    truth: NDArray[np.bool_] | None


class Source(Protocol):
    """Labelled clips whose frames can be read by number."""

    @property
    def clips(self) -> Sequence[SourceClip]:
        """The clips, in a fixed order."""

    def frames(self, index: int, indices: Sequence[int]) -> list[Frames]:
        """Images ``(H, W, 3)`` uint8 RGB of clip `index`."""


class DiskSource:
    """Counted clips on the disk."""

    def __init__(self, counted: Sequence[CountedClip]) -> None:
        self._counted = list(counted)
        self.clips = [
            SourceClip(
                item.clip.name,
                item.clip.label,
                item.clip.group,
                item.frames,
                None if item.clip.truth is None else np.array(item.clip.truth, bool),
            )
            for item in counted
        ]

    def frames(self, index: int, indices: Sequence[int]) -> list[Frames]:
        """Read frames.

        Raises:
            DataError: If a frame has become unreadable since it was counted.
        """
        return read_frames(self._counted[index].clip, indices)


class SyntheticSource:
    """Synthetic clips, drawn once and kept."""

    def __init__(self, drawn: SyntheticClips) -> None:
        clips = [drawn[i] for i in range(len(drawn))]
        self._frames = [clip.frames for clip in clips]
        self.clips = [
            SourceClip(clip.name, clip.label, clip.group, len(clip.frames), clip.truth if clip.localisable else None)
            for clip in clips
        ]

    def frames(self, index: int, indices: Sequence[int]) -> list[Frames]:
        """Frames by number."""
        return [self._frames[index][i] for i in indices]


class Subset:
    """Some clips of a source.

    Args:
        source: The source.
        indices: Which of its clips.
    """

    def __init__(self, source: Source, indices: Sequence[int]) -> None:
        self._source, self._indices = source, indices
        self.clips = [source.clips[i] for i in indices]

    def frames(self, index: int, indices: Sequence[int]) -> list[Frames]:
        """Frames of clip `index` of the subset."""
        return self._source.frames(self._indices[index], indices)
