"""``dfer-train table N``."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

from rich.console import Console

from engine.console import Exit
from engine.settings import SettingsError, add_set
from train.commands.arguments import add_data_arguments, add_device_argument


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("number", help="the table's number in the paper, for example 4 or fig3")
    parser.add_argument("--model", default="tg-dfer", help="tg-dfer, dk-clip or clip-guided: which paper")
    add_data_arguments(parser)
    parser.add_argument("--encoder", help="another encoder than the paper's")
    parser.add_argument("--weights", default="", help="CLIP weights")
    parser.add_argument("--folds", type=int, nargs="+", help="other folds than the paper's")
    parser.add_argument("--only", nargs="+", default=[], metavar="WORD", help="rows whose name holds one of these")
    add_set(parser, "any setting of fit")
    parser.add_argument("--out", type=Path, help="folder for the runs; a call with the same one goes on")
    parser.add_argument("--list", action="store_true", help="only print the paper's figures")
    add_device_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run the table's rows and print them beside the paper's."""
    from train.papers.run import print_table, run_table
    from train.papers.tables import find_table
    from train.training.distributed import processes

    table = find_table(arguments.model, arguments.number)
    console = Console()
    if arguments.list:
        print_table(table, [], console, "–")
        return Exit.DONE
    if arguments.out is None or arguments.source is None:
        raise SettingsError("table needs --source, --data and --out", "or --list for the paper's figures alone")
    if arguments.encoder:
        rows = tuple(dataclasses.replace(row, encoder="") for row in table.rows)
        table = dataclasses.replace(table, encoder=arguments.encoder, rows=rows)
    data = {"source": arguments.source, "root": arguments.data or ""}
    base = {"data": data, "model": {"weights": arguments.weights}}
    with processes(arguments.device) as mine:
        measured = run_table(table, base, arguments.set, arguments.out, mine, arguments.folds, arguments.only)
        if mine.first:
            print_table(table, measured, console, arguments.source)
    return Exit.DONE
