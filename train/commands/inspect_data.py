"""``dfer-train inspect-data``: what is in a folder of clips, what is wrong with it, and parts that share nobody."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from engine.console import Exit
from engine.text import printable

if TYPE_CHECKING:
    from train.data.own.inspection import Inspection


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "folder", type=Path, help="clips as <class>/<clip>, <class>/<person>/<clip> or <person>/<class>/<clip>"
    )
    parser.add_argument("--out", type=Path, help="write train.csv, val.csv, test.csv and split.json (hashes) here")
    parser.add_argument("--val", type=float, default=0.15, help="share of clips to choose on")
    parser.add_argument("--test", type=float, default=0.15, help="share of clips to test on")
    parser.add_argument("--seed", type=int, default=0, help="of the order in which persons are dealt")
    parser.add_argument("--json", action="store_true", help="print what was found as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Look at every clip; in part where something asks to be mended."""
    from train.data.own.deal import Shares, deal, write_parts
    from train.data.own.folder import read_folder
    from train.data.own.inspection import inspect

    console = Console(stderr=True)
    shares = Shares(arguments.val, arguments.test)
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("looking at clips", total=len(read_folder(arguments.folder).clips))
        found = inspect(arguments.folder, lambda: progress.advance(task), os.cpu_count() or 1)
    faults = found.faults()
    if arguments.json:
        print(json.dumps(_values(found, faults), indent=1))
    else:
        _show(found, faults, Console())
    if arguments.out is None:
        return Exit.PARTLY if found.folder.unknown or found.broken or found.pairs else Exit.DONE
    found.folder.known()
    parts = deal(found.grouped(), shares, arguments.seed)
    people = {each.clip.name: each.clip for each in found.looked}
    named = {part: [people[clip.name] for clip in clips] for part, clips in parts.items()}
    note = write_parts(
        named, {each.clip.name: each.likeness.sha256 for each in found.looked}, arguments.seed, arguments.out
    )
    for part, clips in named.items():
        who = {clip.group for clip in clips if clip.group}
        print(f"{part}: {len(clips)} clips of {len(who)} persons", file=sys.stderr)
    print(note)
    return Exit.PARTLY if found.broken else Exit.DONE


def _show(found: Inspection, faults: list[str], console: Console) -> None:
    table = Table("class", "clips", "persons", "shortest", "median", "longest", title=printable(str(found.folder.root)))
    for label, people in sorted(found.classes().items()):
        lengths = sorted(each.seconds for each in found.looked if each.clip.label == label)
        middle = lengths[len(lengths) // 2]
        who = len([name for name in people if name])
        table.add_row(
            label, str(len(lengths)), str(who or "?"), f"{lengths[0]:.1f} s", f"{middle:.1f} s", f"{lengths[-1]:.1f} s"
        )
    console.print(table)
    for line in faults:
        console.print(printable(line), markup=False, highlight=False, soft_wrap=True)
    if not faults:
        console.print("nothing asks to be mended")


def _values(found: Inspection, faults: list[str]) -> dict[str, object]:
    return {
        "folder": str(found.folder.root),
        "classes": {label: dict(people) for label, people in sorted(found.classes().items())},
        "clips": {
            each.clip.name: {
                "class": each.clip.label, "person": each.clip.group, "frames": each.frames,
                "seconds": round(each.seconds, 3), "sha256": each.likeness.sha256, "problem": each.problem,
            }
            for each in found.looked
        },
        "unknown": found.folder.unknown,
        "broken": found.broken,
        "twins": [{"first": pair.first, "second": pair.second, "same_bytes": pair.same_bytes} for pair in found.pairs],
        "unused": found.folder.unused,
        "left_out": found.folder.left_out,
        "faults": faults,
    }  # fmt: skip
