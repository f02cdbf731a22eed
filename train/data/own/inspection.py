"""What is in a folder of one's own clips, and what is wrong with it, before anything is trained."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

from stream.camera.video import presentation_times
from train.data.frames import decode_whole
from train.data.own.folder import OwnFolder, read_folder
from train.data.own.likeness import Likeness, Pair, file_hash, look_of, twins
from train.data.record import Clip, DataError

FEW_CLIPS = 10
"""A class of fewer clips is named."""


@dataclass(frozen=True)
class Looked:
    """A clip that was decoded.

    Attributes:
        clip: The clip.
        frames: Frames that decode.
        seconds: From its first to its last frame, s.
        likeness: What it is compared by.
        problem: What is wrong with it though it can be used, or None.
    """

    clip: Clip
    frames: int
    seconds: float
    likeness: Likeness
    problem: str | None = None


@dataclass
class Inspection:
    """What was found.

    Attributes:
        folder: The folder as it lies.
        looked: Usable clips, in the folder's order.
        broken: Clip name -> why it cannot be used.
        pairs: Clips that are one.
    """

    folder: OwnFolder
    looked: list[Looked] = field(default_factory=list)
    broken: dict[str, str] = field(default_factory=dict)
    pairs: list[Pair] = field(default_factory=list)

    def classes(self) -> dict[str, Counter[str]]:
        """Class -> clips by person ("" where unknown), of usable clips."""
        counts: dict[str, Counter[str]] = defaultdict(Counter)
        for each in self.looked:
            counts[each.clip.label][each.clip.group] += 1
        return dict(counts)

    def grouped(self) -> list[Clip]:
        """Usable clips whose ``group`` keeps together what must not be parted: a person's clips, and copies."""
        leader = {each.clip.name: each.clip.group or f"\0{each.clip.name}" for each in self.looked}
        for pair in self.pairs:
            kept, gone = sorted((leader[pair.first], leader[pair.second]))
            leader = {name: kept if group == gone else group for name, group in leader.items()}
        return [replace(each.clip, group=leader[each.clip.name]) for each in self.looked]

    def faults(self) -> list[str]:
        """Everything that a person should mend or know, a line each, the worst first."""
        folder, lines = self.folder, []
        for name, clips in sorted(folder.unknown.items()):
            lines.append(f"unknown class {name!r}: {len(clips)} clips ({clips[0]}, …): map it in dataset.toml")
        lines += [f"cannot be used: {name}: {why}" for name, why in self.broken.items()]
        label = {each.clip.name: each.clip.label for each in self.looked}
        for pair in self.pairs:
            other = "" if label[pair.first] == label[pair.second] else (
                f", and the one is {label[pair.first]}, the other {label[pair.second]}"
            )  # fmt: skip
            lines.append(f"one clip twice: {pair}{other}")
        lines += [f"{each.clip.name}: {each.problem}" for each in self.looked if each.problem]
        nobody = sum(not each.clip.group for each in self.looked)
        if nobody:
            lines.append(f"{nobody} clips of nobody known: parts may share a person; say [people] in dataset.toml")
        for name, people in sorted(self.classes().items()):
            if sum(people.values()) < FEW_CLIPS:
                lines.append(f"class {name} has only {sum(people.values())} clips")
        if folder.unused:
            lines.append(f"{len(folder.unused)} files are no video: {', '.join(folder.unused[:3])}")
        if folder.left_out:
            lines.append(f"{len(folder.left_out)} clips are left out by dataset.toml")
        return lines


def inspect(root: Path, advance: Callable[[], object] = lambda: None, workers: int = 2) -> Inspection:
    """Decode every clip of a folder once and tell what is there.

    Args:
        root: See :func:`train.data.own.folder.read_folder`.
        advance: Called after every clip.
        workers: Threads that decode.

    Raises:
        DataError: If there is no such folder or nothing in it can be used.
    """
    found = Inspection(read_folder(root))
    with ThreadPoolExecutor(workers) as pool:
        for clip, result in zip(found.folder.clips, pool.map(_look, found.folder.clips), strict=True):
            if isinstance(result, Looked):
                found.looked.append(result)
            else:
                found.broken[clip.name] = result
            advance()
    if not found.looked:
        found.folder.known()
        raise DataError(f"{root}: none of its {len(found.broken)} clips can be used", "; ".join(found.broken.values()))
    found.pairs = twins([each.likeness for each in found.looked])
    return found


def _look(clip: Clip) -> Looked | str:
    try:
        whole = decode_whole(clip)
        if whole.frames == 0:
            return "no frame of it decodes"
        times = presentation_times(clip.path)
        seconds = (max(times) - min(times)) / 1e9 if times else 0.0
        likeness = Likeness(clip.name, file_hash(clip.path), look_of(clip, whole.frames))
        return Looked(clip, whole.frames, seconds, likeness, whole.problem)
    except DataError as error:
        return str(error)
