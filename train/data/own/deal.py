"""Parts of one's own clips: training, choosing and testing, no person in two of them, written down with hashes."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.files import write_text
from train.data.layouts.clips import COLUMNS
from train.data.record import Clip, DataError
from train.data.split import cut_validation

PARTS = ("train", "val", "test")
NOTE = "split.json"


@dataclass(frozen=True)
class Shares:
    """Shares of the parts for choosing and for testing, each in (0, 1); the rest is for training."""

    val: float = 0.15
    test: float = 0.15

    def __post_init__(self) -> None:
        if not (0 < self.val < 1 and 0 < self.test < 1 and self.val + self.test < 1):
            raise DataError(
                f"shares {self.val:g} and {self.test:g} leave no clip for training",
                "both must be over 0 and together under 1",
            )


def deal(clips: Sequence[Clip], shares: Shares, seed: int) -> dict[str, list[Clip]]:
    """Deal clips into parts, classes as even as whole persons allow.

    Args:
        clips: With their persons in ``group``; clips of nobody known count as a person each.
        shares: How much of them for what.
        seed: Of the order; the same clips and seed give the same parts on every machine.

    Raises:
        DataError: If there are too few persons for three parts.
    """
    if len({clip.group or clip.name for clip in clips}) < len(PARTS):
        raise DataError(
            f"{len(clips)} clips of {len({clip.group for clip in clips})} persons make no three parts that share none",
            "record more people, or give own lists train.csv, val.csv and test.csv",
        )
    rest, test = cut_validation(clips, shares.test, seed)
    remaining = [clips[i] for i in rest]
    train, val = cut_validation(remaining, shares.val / (1 - shares.test), seed)
    dealt = {
        "train": [remaining[i] for i in train],
        "val": [remaining[i] for i in val],
        "test": [clips[i] for i in test],
    }
    missing = {label for clip in clips if (label := clip.label)} - {clip.label for clip in dealt["train"]}
    if missing:
        raise DataError(
            f"every clip of {', '.join(sorted(missing))} is of persons that fell to another part than training",
            "record these classes with more people, or try another --seed",
        )
    return dealt


def write_parts(parts: Mapping[str, Sequence[Clip]], hashes: Mapping[str, str], seed: int, out: Path) -> Path:
    """Write ``train.csv``, ``val.csv``, ``test.csv`` and a note with every clip's hash.

    Args:
        parts: From :func:`deal`.
        hashes: SHA-256 of each clip by name.
        seed: What they were dealt with.
        out: The folder for the lists.

    Returns:
        The note.
    """
    out.mkdir(parents=True, exist_ok=True)
    for part, clips in parts.items():
        table = io.StringIO()
        rows = csv.writer(table, lineterminator="\n")
        rows.writerow([column for column in COLUMNS if column in ("path", "label", "subject")])
        rows.writerows([str(clip.path.resolve()), clip.label, clip.group] for clip in clips)
        write_text(out / f"{part}.csv", table.getvalue())
    note = {
        "seed": seed,
        "parts": {
            part: {
                clip.name: {"sha256": hashes[clip.name], "person": clip.group, "class": clip.label} for clip in clips
            }
            for part, clips in parts.items()
        },
    }
    write_text(out / NOTE, json.dumps(note, indent=1))
    return out / NOTE
