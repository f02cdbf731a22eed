"""``dfer-train synth``: the synthetic set on the disk, as folders of frames and CSV files with frame truth."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import cv2

from engine.files import write_bytes, write_text
from train.data.layouts.synthetic import SyntheticClips


def write_synthetic(clips: SyntheticClips, out: Path, part: str, advance: Callable[[], None] | None = None) -> Path:
    """Write a synthetic set in the layout of one's own clips.

    Args:
        clips: The set.
        out: Folder; frames go to ``<part>/<clip>/000001.png``.
        part: ``train`` or ``test``.
        advance: Called after every clip.

    Returns:
        The CSV, with label, subject (the face) and frame truth.
    """
    table = io.StringIO()
    rows = csv.writer(table, lineterminator="\n")
    rows.writerow(["path", "label", "subject", "truth"])
    for index in range(len(clips)):
        clip = clips[index]
        folder = out / part / clip.name
        folder.mkdir(parents=True, exist_ok=True)
        for number, frame in enumerate(clip.frames, start=1):
            ok, png = cv2.imencode(".png", frame[..., ::-1])
            assert ok
            write_bytes(folder / f"{number:06d}.png", png.tobytes())
        # A clip in which nothing can be localised carries no truth.
        truth = "".join("1" if shows else "0" for shows in clip.truth) if clip.localisable else ""
        rows.writerow([f"{part}/{clip.name}", clip.label, clip.group, truth])
        if advance is not None:
            advance()
    note = {"settings": asdict(clips.settings), "composition_sha256": clips.composition()}
    write_text(out / f"{part}.json", json.dumps(note, indent=1))
    path = out / f"{part}.csv"
    write_text(path, table.getvalue())
    return path
