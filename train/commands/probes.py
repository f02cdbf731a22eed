"""``dfer-train probes``: one table of a bundle's figures on clean and on spoilt faces."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from engine.console import Exit
from engine.settings import SettingsError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="its directory")
    parser.add_argument("--data", type=Path, required=True, help="folder with FER+'s train.zip, dev.zip and tables")
    parser.add_argument(
        "--part",
        choices=("choose", "confirm", "untrained", "dev"),
        default="choose",
        help="choose: half of dev, to compare candidates on (default); confirm: its other half, to be looked at once "
        "for a choice; untrained: the hundredth of train that no run has seen; dev: all of it",
    )
    parser.add_argument("--faces", type=int, default=900, help="at most so many, the same each time; 0: all")
    parser.add_argument("--clean", action="store_true", help="leave the probes out")
    parser.add_argument("--cache", type=Path, default=Path(".cache/compact"), help="folder of cached stills")
    parser.add_argument("--threads", type=int, default=1, help="pictures at a time")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Measure and print."""
    from engine.bundle import Bundle
    from train.default_model.judge import PARTS, in_words, judge, read_part, table
    from train.evaluation.probes import PROBES

    if arguments.faces < 0 or arguments.threads < 1:
        raise SettingsError("--faces or --threads is too small", "give at least 0 faces and 1 thread")
    bundle = Bundle.open(arguments.bundle)
    stills = read_part(arguments.data, arguments.part, arguments.cache, arguments.faces)
    rows = judge(bundle, stills, () if arguments.clean else PROBES, arguments.threads)
    if arguments.json:
        print(json.dumps({"bundle": bundle.sha256, "part": arguments.part, "figures": rows}, indent=1))
    else:
        print(f"{arguments.bundle} ({bundle.sha256[:12]}) on {arguments.part}: {PARTS[arguments.part]}\n")
        print("\n".join([*in_words(rows["clean"]), "", *table(rows)]))
    return Exit.DONE
