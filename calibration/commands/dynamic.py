"""``dfer-calibrate dynamic``: how quick, how right and how calm labels are on marked clips, side by side."""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
from pathlib import Path
from typing import Any

from calibration.data.segments import read_segments, read_shown
from calibration.metrics import dynamics
from calibration.metrics.dynamics import Segment, Traced
from calibration.settings import CalibrationError
from engine.console import Exit

_FIELDS = ("label", "now", "probs", "smoothed")
_HEADS = ("onset, median", "p90", "shown", "release, median", "longest", "time right [95 %]", "rest: switches/s",
          "other", "none", "contorted: /s", "first label")  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``dfer-calibrate dynamic``."""
    parser.add_argument("segments", type=Path, help="CSV: clip, t0, t1, expression; part, person, x, y if known")
    parser.add_argument(
        "rows", nargs="+", metavar="ROWS[:FIELD]",
        help="JSON lines of `dfer-stream score` on the clips, or another model's: path, t_s, label; a field of scores "
        f"({', '.join(_FIELDS[1:])}) is judged by its largest",
    )  # fmt: skip
    parser.add_argument("--part", default="", help="only segments whose column part says so, for example check")
    parser.add_argument("--warm-s", type=float, default=dynamics.SETTLED_S, help="judge nothing before (%(default)s s)")
    parser.add_argument("--each", action="store_true", help="print every segment too")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")


def run(args: argparse.Namespace) -> int:
    """Measure every file of rows and print a line for each; gains are over the first."""
    segments = read_segments(args.segments, args.part)
    told = {name: measure(name, segments, args.warm_s) for name in args.rows}
    base = next(iter(told.values()))[0]
    if args.json:
        print(json.dumps({name: _plain(dataclasses.asdict(found)) for name, (_, found) in told.items()}, indent=2))
        return Exit.DONE
    width = max(map(len, told))
    print("  ".join([" " * width, *_HEADS]))
    for name, (traced, found) in told.items():
        gain = "" if traced is base else _gain(traced, base)
        cells = [cell.rjust(len(head)) for cell, head in zip(_cells(found, traced), _HEADS, strict=True)]
        print("  ".join([name.ljust(width), *cells]) + gain)
        for each in traced if args.each else ():
            print("   ", _line(each))
    return Exit.DONE


def measure(rows: str, segments: list[Segment], warm_s: float) -> tuple[list[Traced], dynamics.Dynamics]:
    """Judge one file of rows, ``FILE`` or ``FILE:FIELD``.

    Raises:
        CalibrationError: If it lacks a marked clip.
    """
    name, _, field = rows.rpartition(":")
    if not name or field not in _FIELDS:
        name, field = rows, "label"
    clips = read_shown(Path(name), field)
    missing = sorted({segment.clip for segment in segments} - set(clips))
    if missing:
        raise CalibrationError(f"{name} has no row of {', '.join(missing[:3])}", "score every marked clip")
    traced = [dynamics.trace(segment, clips[segment.clip].of(segment), warm_s) for segment in segments]
    first = [
        dynamics.first_label_s({face: [m.shown for m in rows] for face, rows in clips[clip].faces.items()})
        for clip in dict.fromkeys(segment.clip for segment in segments)
    ]
    return traced, dynamics.dynamics(traced, first)


def _cells(found: dynamics.Dynamics, traced: list[Traced]) -> list[str]:
    low, high = dynamics.right_interval(traced)
    return [
        f"{found.onset_median_s:.2f} s", f"{found.onset_p90_s:.2f} s", f"{found.shown}/{found.segments}",
        f"{found.release_median_s:.2f} s", f"{found.release_max_s:.2f} s",
        f"{100 * found.right:.1f} [{100 * low:.0f}, {100 * high:.0f}]", f"{found.rest_switches_hz:.2f}",
        f"{100 * found.rest_other:.1f} %", f"{100 * found.rest_none:.1f} %", f"{found.restless_hz:.2f}",
        f"{found.first_label_s:.2f} s",
    ]  # fmt: skip


def _gain(traced: list[Traced], base: list[Traced]) -> str:
    low, high = dynamics.right_interval(traced, base)
    return f"  time right {100 * low:+.0f} to {100 * high:+.0f} over the first"


def _line(each: Traced) -> str:
    segment = each.segment
    what = f"{segment.clip} {segment.t0_s:.2f}-{segment.t1_s:.2f} {segment.expression}"
    times = "".join(
        f", {name} {value:.2f}" for name, value in (("on", each.onset_s), ("off", each.release_s)) if value is not None
    )
    return f"{what}: right {each.right}/{each.moments}, none {each.none}, switches {each.switches}{times}"


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    """JSON knows no NaN and no infinity: null and ``"never"``."""
    return {
        key: value if not isinstance(value, float) or math.isfinite(value) else None if math.isnan(value) else "never"
        for key, value in values.items()
    }
