"""What two parts of one's own clips share and must not: clips, and persons."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path

from train.data.own.likeness import Likeness, file_hash, look_of, twins, unpack
from train.data.record import Clip, CountedClip, DataError, DataReport

CROPS_NOTE = "crops.json"
"""What ``dfer-train prepare`` leaves in a clip's folder; it carries hash and look of the video."""


def refuse_shared(parts: Mapping[str, Sequence[CountedClip]], reports: Mapping[str, DataReport]) -> None:
    """Refuse parts with a clip in common; name the persons in two parts in the report of the first.

    Args:
        parts: Clips by part.
        reports: The parts' reports; persons are added to them.

    Raises:
        DataError: Naming the pairs.
    """
    likenesses = {part: [likeness(item) for item in counted] for part, counted in parts.items()}
    for first, second in combinations(parts, 2):
        pairs = twins(likenesses[first], likenesses[second])
        if pairs:
            shown = "; ".join(map(str, pairs[:3])) + ("; …" if len(pairs) > 3 else "")
            raise DataError(
                f"{len(pairs)} clips are in {first} and in {second}: {shown}",
                "take them out of one part; dfer-train inspect-data FOLDER --out PARTS deals without sharing",
            )
        both = _people(parts[first]) & _people(parts[second])
        for name in sorted(both):
            if first in reports:
                reports[first].problem(f"person is in {first} and in {second}", name)


def likeness(item: CountedClip) -> Likeness:
    """What a clip is compared by: a prepared one by the video it was cut from.

    Raises:
        DataError: If it cannot be read.
    """
    clip = item.clip
    if not clip.path.is_dir():
        return Likeness(clip.name, file_hash(clip.path), look_of(clip, item.frames))
    note = _note(clip)
    try:
        return Likeness(clip.name, note["sha256"], unpack(note["look"]))
    except (KeyError, ValueError, TypeError):
        return Likeness(clip.name, file_hash(clip.path), None)


def _note(clip: Clip) -> dict[str, str]:
    try:
        values = json.loads((Path(clip.path) / CROPS_NOTE).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}


def _people(clips: Sequence[CountedClip]) -> set[str]:
    return {item.clip.group for item in clips} - {""}
