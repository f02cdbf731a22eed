"""Hand-marked segments of clips, and what somebody's model said of those clips frame by frame."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

from calibration.metrics.dynamics import Segment, Shown
from calibration.settings import CalibrationError

_COLUMNS = ("clip", "t0", "t1", "expression")


@dataclass(frozen=True)
class FaceMoment:
    """A row's box, x, y, width and height px (None where it has none), and what it shows."""

    box: tuple[float, float, float, float] | None
    shown: Shown


@dataclass
class ClipRows:
    """One clip's rows.

    Attributes:
        faces: By face id, in the order of time.
    """

    faces: dict[str, list[FaceMoment]] = field(default_factory=dict)

    def of(self, segment: Segment) -> list[Shown]:
        """What is shown of the segment's face at each moment: the one at its point, else the largest."""
        moments: dict[float, list[FaceMoment]] = {}
        for rows in self.faces.values():
            for row in rows:
                moments.setdefault(row.shown.t_s, []).append(row)
        return [_chosen(moments[t_s], segment.at).shown for t_s in sorted(moments)]


def read_segments(file: Path, part: str = "") -> list[Segment]:
    """Segments of a CSV with the columns clip, t0, t1 (s), expression and, where they are known, part, person, x, y.

    Args:
        file: The CSV.
        part: Only segments of this part, for example ``check``; empty for all.

    Raises:
        CalibrationError: Naming the line that cannot be used.
    """
    found = []
    try:
        with file.open(encoding="utf-8", newline="") as stream:
            reader = csv.DictReader(stream)
            missing = [name for name in _COLUMNS if name not in (reader.fieldnames or ())]
            if missing:
                raise CalibrationError(f"{file} has no column {missing[0]!r}")
            for row in reader:
                if part and row.get("part") != part:
                    continue
                t0_s, t1_s = float(row["t0"]), float(row["t1"])
                if not 0 <= t0_s < t1_s < math.inf:
                    raise CalibrationError(f"{file}:{reader.line_num}: t0 {t0_s} and t1 {t1_s} are no stretch of time")
                at = (float(row["x"]), float(row["y"])) if row.get("x") and row.get("y") else None
                found.append(Segment(row["clip"], t0_s, t1_s, row["expression"], row.get("person") or "", at))
    except (OSError, UnicodeDecodeError, ValueError, csv.Error) as error:
        raise CalibrationError(f"cannot read {file}: {error}") from error
    if not found:
        raise CalibrationError(f"{file} marks no segment{f' of part {part!r}' if part else ''}")
    return found


def read_shown(file: Path, what: str = "label") -> dict[str, ClipRows]:
    """What rows say of clips, by the clip's name without its ending.

    Args:
        file: JSON lines as ``dfer-stream score`` writes them for videos, or as any other model's maker does: ``path``,
            ``t_s``, and ``label`` or scores by class name; ``face`` and ``box`` where there are several.
        what: ``label``, or the field of scores whose largest is taken.

    Raises:
        CalibrationError: Naming the line that cannot be used.
    """
    clips: dict[str, ClipRows] = {}
    number = 0
    try:
        with file.open(encoding="utf-8") as lines:
            for line in lines:
                number += 1
                row = json.loads(line)
                name = PurePath(str(row["path"])).name
                moment = FaceMoment(_box(row), Shown(float(row["t_s"]), _said(row, what)))
                for key in {name, PurePath(name).stem}:
                    clips.setdefault(key, ClipRows()).faces.setdefault(str(row.get("face", "")), []).append(moment)
    except (OSError, UnicodeDecodeError) as error:
        raise CalibrationError(f"cannot read {file}: {error}") from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CalibrationError(f"{file}:{number} is no row of a video: {error!r}") from error
    return clips


def _said(row: Mapping[str, Any], what: str) -> str | None:
    if what == "label":
        label = row["label"]
        return None if label is None else str(label)
    values = row.get(what)
    return max(values, key=values.__getitem__) if values else None


def _box(row: Mapping[str, Any]) -> tuple[float, float, float, float] | None:
    if row.get("box") is None:
        return None
    x, y, width, height = (float(value) for value in row["box"])
    return x, y, width, height


def _chosen(rows: Sequence[FaceMoment], at: tuple[float, float] | None) -> FaceMoment:
    def far(row: FaceMoment) -> float:
        if row.box is None:
            return 0.0
        x, y, width, height = row.box
        if at is None:
            return -width * height
        return math.hypot(x + width / 2 - at[0], y + height / 2 - at[1])

    return min(rows, key=far)
