"""MAFW (Liu et al., ACM MM 2022): clips of eleven classes, five folds.

Layout: ``single/no_caption/set_k/{train,test}.txt`` with lines ``00025.mp4 anger``; the captioned variant under
``single/caption`` is tab-separated and has a column that is not UTF-8. Frames lie in ``clips_frames/<id>/`` (several
folder names are in use).
"""

from __future__ import annotations

from pathlib import Path

from engine.spec import MAFW_CLASSES
from train.data.record import Clip, ClipList, DataError, DataReport, label_of, read_lines

LABELS = MAFW_CLASSES

FOLDS = (1, 2, 3, 4, 5)

FRAME_FOLDERS = ("clips_frames", "frames", "clips_faces", "data/clips_faces", "data/frames", "clips", "data/clips")
"""Where the public repositories keep the frames (or the raw clips), first found is used."""


def load(root: Path, part: str, fold: int = 1) -> tuple[list[Clip], DataReport]:
    """Read one part of one fold.

    Args:
        root: Folder with ``single`` and the clips' frames in it.
        part: ``"train"`` or ``"test"``.
        fold: 1 to 5.

    Returns:
        The clips and the report of what was wrong.

    Raises:
        DataError: If the root, the annotation file or the clip folder is missing, or no clip is usable.
    """
    if fold not in FOLDS:
        raise DataError(f"MAFW has folds 1 to 5, not {fold}")
    report = DataReport(f"MAFW fold {fold} {part}")
    choices = [root / "single" / kind / f"set_{fold}" / f"{part}.txt" for kind in ("no_caption", "caption")]
    annotation = next((path for path in choices if path.is_file()), choices[0])
    frames = next((root / name for name in FRAME_FOLDERS if (root / name).is_dir()), None)
    if frames is None:
        raise DataError(f"no folder of frames in {root}", f"one of {', '.join(FRAME_FOLDERS)} must be there")
    found = ClipList(report)
    for number, line in enumerate(read_lines(annotation, report), start=1):
        where = f"{annotation.name}:{number}"
        fields = line.split("\t") if "\t" in line else line.split()
        if len(fields) < 2:
            report.problem("line is not 'id.mp4 class'", where)
            continue
        name = Path(fields[0].strip()).stem
        label = label_of(fields[1], report, where)
        if label is None:
            continue
        path = next((p for p in (frames / name, frames / f"{name}.mp4") if p.exists()), None)
        found.add(name, path, label)
    report.finish(found.clips, LABELS)
    return found.clips, report
