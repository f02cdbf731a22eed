"""One's own data: a CSV ``path,label[,start_s,end_s][,subject][,truth]`` of video files or folders of frames.

``truth`` is one character per frame, 1 where the frame shows the expression; synthetic sets carry it.
"""

from __future__ import annotations

import csv
import math
from pathlib import Path

from engine.spec import MAFW_CLASSES
from train.data.record import Clip, DataError, DataReport, label_of, read_lines

COLUMNS = ("path", "label", "start_s", "end_s", "subject", "truth")


def load(root: Path, part: str = "train", fold: int = 1) -> tuple[list[Clip], DataReport]:
    """Read a CSV of clips.

    Args:
        root: The CSV file, or a folder with ``<part>.csv`` (for folds, ``<part>_<fold>.csv``) in it. Relative paths
            in it are relative to its folder.
        part: ``"train"``, ``"val"`` or ``"test"``.
        fold: Which fold's file, where there are several.

    Returns:
        The clips and the report of what was wrong. Classes are those of the file, in the project's order.

    Raises:
        DataError: If the file is missing, has no path and label columns or unknown ones, or no clip is usable.
    """
    choices = [root] if root.is_file() else [root / f"{part}_{fold}.csv", root / f"{part}.csv"]
    path = next((p for p in choices if p.is_file()), choices[-1])
    if not path.is_file() and root.is_dir():
        raise DataError(
            f"{root} has no {part}.csv",
            "dfer-train inspect-data FOLDER --out PARTS makes train.csv, val.csv and test.csv of a folder of clips",
        )
    report = DataReport(f"{path.name} {part}" if root.is_file() else f"{root.name}/{path.name}")
    rows = list(csv.reader(read_lines(path, report)))
    if not rows:
        raise DataError(f"{path} is empty", f"its first line must be {','.join(COLUMNS[:2])}[,start_s,end_s][,subject]")
    header = [name.strip().lower() for name in rows[0]]
    unknown = [name for name in header if name not in COLUMNS]
    if "path" not in header or "label" not in header or unknown:
        raise DataError(
            f"{path}: the first line must name path,label[,start_s,end_s][,subject], not {','.join(header)}"
        )
    clips: list[Clip] = []
    names: set[str] = set()
    for number, row in enumerate(rows[1:], start=2):
        where = f"{path.name}:{number}"
        if len(row) != len(header):
            report.problem(f"line has not the header's {len(header)} fields", where)
            continue
        values = dict(zip(header, (cell.strip() for cell in row), strict=True))
        clip = _clip(values, path.parent, report, where, names)
        if clip is not None:
            names.add(clip.name)
            clips.append(clip)
    report.finish(clips, [label for label in MAFW_CLASSES if any(clip.label == label for clip in clips)])
    return clips, report


def _clip(values: dict[str, str], base: Path, report: DataReport, where: str, names: set[str]) -> Clip | None:
    label = label_of(values["label"], report, where)
    if label is None:
        return None
    target = base / values["path"]
    if not values["path"] or not target.exists():
        report.problem("no such file or folder", f"{values['path']} ({where})")
        return None
    try:
        start = float(values.get("start_s") or 0.0)
        end = float(values["end_s"]) if values.get("end_s") else None
    except ValueError:
        report.problem("start_s or end_s is no number", where)
        return None
    if not math.isfinite(start) or start < 0 or (end is not None and not start < end < math.inf):
        report.problem("start_s and end_s do not satisfy 0 <= start_s < end_s", where)
        return None
    truth = values.get("truth", "")
    if truth.strip("01"):
        report.problem("truth is not a string of 0 and 1", where)
        return None
    name = (
        values["path"]
        if start == 0 and end is None
        else f"{values['path']}@{start:g}-{'' if end is None else f'{end:g}'}"
    )
    if name in names:
        report.problem("clip is listed twice", name)
        return None
    marks = tuple(mark == "1" for mark in truth) if truth else None
    return Clip(name, target, label, values.get("subject", ""), start, end, marks)
