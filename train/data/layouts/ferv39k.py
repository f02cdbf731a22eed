"""FERV39k (Wang et al., CVPR 2022): 38,935 clips of 22 scenes, one split.

Layout: ``4_setups/All_scenes/{train,test}_All.csv``, no header, ``Crime/Angry/0063 Angry``, and
``2_ClipsforFaceCrop/<scene>/<Emotion>/<id>/``.
"""

from __future__ import annotations

from pathlib import Path

from engine.spec import SEVEN_CLASSES
from train.data.record import Clip, ClipList, DataError, DataReport, label_of, read_lines

LABELS = SEVEN_CLASSES


def load(root: Path, part: str, fold: int = 1) -> tuple[list[Clip], DataReport]:
    """Read one part; FERV39k has no folds.

    Args:
        root: Folder with ``4_setups`` and ``2_ClipsforFaceCrop`` in it.
        part: ``"train"`` or ``"test"``.
        fold: Must be 1.

    Returns:
        The clips and the report of what was wrong.

    Raises:
        DataError: If the root, the annotation file or the clip folder is missing, or no clip is usable.
    """
    if fold != 1:
        raise DataError(f"FERV39k has one split, so fold must be 1, not {fold}")
    report = DataReport(f"FERV39k {part}")
    annotation = root / "4_setups" / "All_scenes" / f"{part}_All.csv"
    frames = root / "2_ClipsforFaceCrop"
    if not frames.is_dir():
        raise DataError(f"no folder {frames}", "--data must be the folder that holds 2_ClipsforFaceCrop")
    found = ClipList(report)
    for number, line in enumerate(read_lines(annotation, report), start=1):
        # The class is the last word; scene names may hold spaces.
        parts = line.strip().rsplit(maxsplit=1)
        where = f"{annotation.name}:{number}"
        if len(parts) != 2:
            report.problem("line is not 'scene/Emotion/id Emotion'", where)
            continue
        name, spelling = parts[0].replace("\\", "/").strip("/"), parts[1]
        if ".." in name.split("/"):
            report.problem("path leaves the data folder", where)
            continue
        label = label_of(spelling, report, where)
        if label is None:
            continue
        found.add(name, frames / name, label)
    report.finish(found.clips, LABELS)
    return found.clips, report
