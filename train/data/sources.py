"""Data sets by name, and the check of every clip against the disk before a run starts."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from train.data.frames import count_frames, decode_whole, read_frames
from train.data.layouts import clips, dfew, ferv39k, mafw
from train.data.own.memory import ClipMemory, Known
from train.data.record import Clip, CountedClip, DataError, DataReport

Loader = Callable[[Path, str, int], tuple[list[Clip], DataReport]]

SOURCES: dict[str, Loader] = {"dfew": dfew.load, "ferv39k": ferv39k.load, "mafw": mafw.load, "clips": clips.load}
"""Parsers by the name that `--source` takes."""

FOLDS: dict[str, tuple[int, ...]] = {"dfew": dfew.FOLDS, "mafw": mafw.FOLDS, "ferv39k": (1,), "clips": (1,)}

LABELS: dict[str, tuple[str, ...] | None] = {
    "dfew": dfew.LABELS,
    "ferv39k": ferv39k.LABELS,
    "mafw": mafw.LABELS,
    "clips": None,
}
"""Classes of each source in its order; None where the file decides."""


def load(source: str, root: Path, part: str, fold: int = 1) -> tuple[list[Clip], DataReport]:
    """Parse one part of a data set.

    Args:
        source: A key of :data:`SOURCES`.
        root: The data set's folder (or, for `clips`, a CSV file).
        part: ``"train"`` or ``"test"`` (`clips` also ``"val"``).
        fold: From 1.

    Returns:
        Clips whose path exists, and the report; frames are not counted yet (:func:`check_frames`).

    Raises:
        DataError: On an unknown source, a wrong root, or when nothing is usable.
    """
    if source not in SOURCES:
        raise DataError(f"unknown data source {source!r}", f"known: {', '.join(SOURCES)}")
    if not root.exists():
        raise DataError(f"no such data folder or file: {root}")
    return SOURCES[source](root, part, fold)


def check_frames(
    found: list[Clip], report: DataReport, samples: int, labels: tuple[str, ...], verify: str = "first"
) -> list[CountedClip]:
    """Count every clip's frames and open it, so that a broken clip is known before training, not in it.

    Args:
        found: Clips of a parser.
        report: Its report; short, empty and broken clips are added, and the class counts renewed.
        samples: T; clips of fewer frames are listed as short and kept.
        labels: All classes of the run, for the per-class counts.
        verify: ``first`` decodes one frame per folder and videos throughout (once: what was found is remembered until
            the file changes), ``all`` every frame, ``none`` only counts.

    Returns:
        The usable clips in their order.

    Raises:
        DataError: If no clip is usable.
    """
    memory = ClipMemory()
    with ThreadPoolExecutor(min(16, 4 * (os.cpu_count() or 1))) as pool:
        probes = list(pool.map(lambda clip: _probe(clip, verify, memory), found))
    memory.save()
    usable: list[CountedClip] = []
    for clip, probe in zip(found, probes, strict=True):
        for kind in probe.problems:
            report.problem(kind, clip.name)
        if probe.error:
            report.problem("cannot be read", f"{clip.name} ({probe.error})")
        elif probe.frames == 0:
            report.problem("no frames on disk", clip.name)
        elif clip.truth is not None and len(clip.truth) != probe.frames:
            report.problem("truth does not have one mark per frame", clip.name)
        else:
            if probe.frames < samples:
                report.short.append(clip.name)
            usable.append(CountedClip(clip, probe.frames))
    report.finish([item.clip for item in usable], labels)
    return usable


@dataclasses.dataclass
class _Probe:
    frames: int = 0
    error: str = ""
    problems: list[str] = dataclasses.field(default_factory=list)


def _probe(clip: Clip, verify: str, memory: ClipMemory) -> _Probe:
    probe = _Probe()
    try:
        if clip.path.is_file() and verify != "none":
            # Packets are a promise; what decodes is what there is. A damaged video is kept for as long as it lasts.
            whole = memory.get(clip)
            if whole is None:
                decoded = decode_whole(clip)
                whole = Known(decoded.frames, decoded.problem)
                memory.put(clip, whole)
            probe.frames = whole.frames
            if whole.problem is not None:
                probe.problems.append("video is damaged or cut short (what decodes is used)")
        else:
            probe.frames = count_frames(clip)
        if probe.frames and verify != "none":
            folder = clip.path.is_dir()
            read_frames(clip, range(probe.frames) if folder and verify == "all" else [0])
    except DataError as error:
        probe.error = str(error)
    return probe
