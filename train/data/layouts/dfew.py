"""DFEW (Jiang et al., ACM MM 2020): 11,697 single-labelled clips of films, five folds.

Layout: ``EmoLabel_DataSplit/{train,test}(single-labeled)/set_{1..5}.csv`` with header ``video_name,label`` and
``Clip/clip_224x224/00001/*.jpg``. Labels count from 1.
"""

from __future__ import annotations

from pathlib import Path

from engine.spec import SEVEN_CLASSES
from train.data.record import Clip, ClipList, DataError, DataReport, read_lines

LABELS = SEVEN_CLASSES
"""Class names in the order of DFEW's numbers: label 1 is the first."""

FOLDS = (1, 2, 3, 4, 5)


def load(root: Path, part: str, fold: int = 1) -> tuple[list[Clip], DataReport]:
    """Read one part of one fold.

    Args:
        root: Folder with ``EmoLabel_DataSplit`` and ``Clip`` in it.
        part: ``"train"`` or ``"test"``.
        fold: 1 to 5.

    Returns:
        The clips and the report of what was wrong.

    Raises:
        DataError: If the root, the annotation file or the clip folder is missing, or no clip is usable.
    """
    if fold not in FOLDS:
        raise DataError(f"DFEW has folds 1 to 5, not {fold}")
    report = DataReport(f"DFEW fold {fold} {part}")
    annotation = root / "EmoLabel_DataSplit" / f"{part}(single-labeled)" / f"set_{fold}.csv"
    frames = root / "Clip" / "clip_224x224"
    if not frames.is_dir():
        raise DataError(f"no folder {frames}", "--data must be the folder that holds DFEW's Clip/clip_224x224")
    found = ClipList(report)
    for number, line in enumerate(read_lines(annotation, report), start=1):
        fields = [field.strip() for field in line.split(",")]
        if number == 1 and fields[0].lower() == "video_name":
            continue
        where = f"{annotation.name}:{number}"
        if len(fields) < 2 or not fields[0] or not fields[1].isdigit():
            report.problem("line is not video_name,label", where)
            continue
        if not 1 <= int(fields[1]) <= len(LABELS):
            report.problem(f"label {fields[1]} is not 1 to {len(LABELS)}", where)
            continue
        # Ids are written without leading zeros, folders with five digits.
        name = fields[0].removesuffix(".mp4").removesuffix(".avi").zfill(5)
        found.add(name, frames / name, LABELS[int(fields[1]) - 1])
    report.finish(found.clips, LABELS)
    return found.clips, report
