"""``dfer-train prepare``."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from engine.console import Exit
from engine.spec import CropGeometry
from engine.text import printable


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "videos", type=Path, help="CSV path,label[,start_s,end_s][,subject], or a folder as inspect-data reads it"
    )
    parser.add_argument(
        "--out", type=Path, required=True, help="folder for crops, CSV, contact sheet and list of failures"
    )
    parser.add_argument("--part", default="train", help="name of the CSV: train, val or test")
    parser.add_argument("--size", type=int, default=224, help="side of a crop, px")
    parser.add_argument("--workers", type=int, default=0, help="processes; 0: one per core")
    parser.add_argument(
        "--ray",
        metavar="HOST:PORT",
        help="cut on every core of this Ray cluster, whose nodes see videos and --out under the same names; auto is "
        "the one that this machine is part of, and this machine alone where there is none",
    )


def run(arguments: argparse.Namespace) -> int:
    """Cut the faces; in part where not one clip could be cut."""
    from stream.offline.cluster.address import find_cluster
    from train.data.cutting import Outcome
    from train.data.layouts import clips as own_clips
    from train.data.own.folder import read_folder
    from train.data.prepare import prepare
    from train.data.record import DataReport

    console = Console(stderr=True)
    cluster = None if arguments.ray is None else find_cluster(arguments.ray)
    report: DataReport | None = None
    if arguments.videos.is_dir() and not (arguments.videos / f"{arguments.part}.csv").is_file():
        folder = read_folder(arguments.videos)
        clips = folder.known()
        for kind, names in (("no video", folder.unused), ("left out by dataset.toml", folder.left_out)):
            if names:
                console.print(printable(f"{len(names)} files are {kind}: {', '.join(names[:3])}"), markup=False)
    else:
        clips, report = own_clips.load(arguments.videos, arguments.part)
        console.print(report.text(), highlight=False)
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("cutting faces", total=len(clips))

        def advance(outcome: Outcome) -> None:
            progress.advance(task)
            if outcome.problem:
                progress.console.print(printable(f"{outcome.name}: {outcome.problem}"), markup=False, highlight=False)

        outcomes = prepare(
            clips,
            arguments.out,
            CropGeometry(size_px=arguments.size),
            arguments.workers or os.cpu_count() or 1,
            arguments.part,
            advance=advance,
            problems=report.problems if report else None,
            cluster=cluster,
        )
    done = sum(1 for outcome in outcomes if outcome.folder)
    listed = f" ({report.problem_count} problems with the list itself)" if report and report.problem_count else ""
    part = arguments.part
    console.print(f"{done} of {len(outcomes)} clips cut{listed}; see {part}-failed.csv and {part}-contact.jpg")
    print(arguments.out / f"{part}.csv")
    return Exit.DONE if done else Exit.PARTLY
