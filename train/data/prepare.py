"""``dfer-train prepare``: cut the faces of raw videos with the daemon's own tracker and crop.

Every clip becomes a folder of aligned crops, moved into place when complete, so a broken run goes on where it was. What
could not be cut is listed with the reason; a contact sheet shows what was.
"""

from __future__ import annotations

import csv
import io
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.files import write_bytes, write_text
from engine.spec import CropGeometry
from train.data.cutting import CutSetup, Outcome, cut_here, cut_on_cluster
from train.data.layouts.clips import COLUMNS
from train.data.record import Clip


def prepare(
    clips: Sequence[Clip],
    out: Path,
    geometry: CropGeometry,
    workers: int,
    part: str = "train",
    min_coverage: float = 0.3,
    advance: Callable[[Outcome], None] | None = None,
    problems: Mapping[str, Sequence[str]] | None = None,
    cluster: str | None = None,
) -> list[Outcome]:
    """Cut all clips and write ``<part>.csv``, ``<part>-failed.csv`` and ``<part>-contact.jpg``.

    Args:
        clips: Raw clips.
        out: Output folder.
        geometry: The aligned crop.
        workers: Processes.
        part: Name of the CSV, for `clips` as a data source.
        min_coverage: Clips whose face is seen in a smaller share of frames are kept, but listed.
        advance: Called after every clip.
        problems: What was wrong already with the list the clips come from (kind -> names): listed as well.
        cluster: ``HOST:PORT`` of a Ray cluster whose nodes cut instead; they see clips and `out` under the same names.

    Returns:
        One outcome per clip, in order.
    """
    out.mkdir(parents=True, exist_ok=True)
    for stale in (out / "crops").glob(".cutting-*"):
        shutil.rmtree(stale, ignore_errors=True)
    setup = CutSetup(str(out), geometry)
    done = cut_here(clips, setup, max(1, workers)) if cluster is None else cut_on_cluster(clips, setup, cluster)
    outcomes: dict[int, Outcome] = {}
    for number, outcome in done:
        outcomes[number] = outcome
        if advance is not None:
            advance(outcome)
    ordered = [outcomes[i] for i in range(len(clips))]
    _write_lists(clips, ordered, out, part, min_coverage, problems or {})
    sheet = contact_sheet([(o, out / o.folder) for o in ordered if o.folder])
    if sheet is not None:
        write_bytes(out / f"{part}-contact.jpg", sheet)
    return ordered


def _write_lists(
    clips: Sequence[Clip],
    outcomes: Sequence[Outcome],
    out: Path,
    part: str,
    min_coverage: float,
    problems: Mapping[str, Sequence[str]],
) -> None:
    table, failed = io.StringIO(), io.StringIO()
    rows, failures = csv.writer(table, lineterminator="\n"), csv.writer(failed, lineterminator="\n")
    rows.writerow([c for c in COLUMNS if c in ("path", "label", "subject")])
    failures.writerow(["name", "path", "problem", "frames", "cropped"])
    failures.writerows([name, "", kind, 0, 0] for kind, names in problems.items() for name in names)
    for clip, outcome in zip(clips, outcomes, strict=True):
        if outcome.folder:
            rows.writerow([outcome.folder, clip.label, clip.group])
        problem = outcome.problem
        if not problem and outcome.coverage < min_coverage:
            problem = f"the face is seen in {outcome.coverage:.0%} of the frames (kept)"
        if problem:
            failures.writerow([clip.name, str(clip.path), problem, outcome.frames, outcome.cropped])
    write_text(out / f"{part}.csv", table.getvalue())
    write_text(out / f"{part}-failed.csv", failed.getvalue())


def contact_sheet(clips: Sequence[tuple[Outcome, Path]], most: int = 96, side: int = 80) -> bytes | None:
    """First, middle and last crop of up to `most` clips, evenly picked, as one JPEG; None without clips.

    A red bar under a clip is the share of frames in which its face was not seen.
    """
    if not clips:
        return None
    picked = [clips[i] for i in np.unique(np.linspace(0, len(clips) - 1, min(most, len(clips))).astype(int))]
    columns = min(6, len(picked))
    cell = np.full((side + 14, 3 * side + 8, 3), 255, np.uint8)
    cells: list[NDArray[np.uint8]] = []
    for outcome, folder in picked:
        tile = cell.copy()
        files = sorted(folder.glob("*.jpg"))
        for slot, file in enumerate((files[0], files[len(files) // 2], files[-1])):
            image = cv2.imread(str(file), cv2.IMREAD_COLOR)
            if image is not None:
                tile[:side, slot * side : (slot + 1) * side] = cv2.resize(
                    image, (side, side), interpolation=cv2.INTER_AREA
                )
        missed = int((1 - outcome.coverage) * 3 * side)
        tile[side : side + 3, :missed] = (60, 60, 220)
        cv2.putText(
            tile,
            Path(outcome.name).name[:34],
            (1, side + 12),
            cv2.FONT_HERSHEY_SIMPLEX,
            0.33,
            (30, 30, 30),
            1,
            cv2.LINE_AA,
        )
        cells.append(tile)
    cells += [cell] * (-len(cells) % columns)
    rows = [np.concatenate(cells[i : i + columns], axis=1) for i in range(0, len(cells), columns)]
    ok, jpeg = cv2.imencode(".jpg", np.concatenate(rows), [cv2.IMWRITE_JPEG_QUALITY, 90])
    assert ok
    return jpeg.tobytes()
