"""``dfer-train fit``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from engine.console import Exit
from engine.settings import Layer, add_flags, add_set, flags_of
from train.commands.arguments import add_device_argument
from train.recipes import read_config
from train.settings import RunConfig

SHORT_FLAGS = {
    "model.name": "--model",
    "model.encoder": "--encoder",
    "model.weights": "--weights",
    "data.source": "--source",
    "data.root": "--data",
    "data.fold": "--fold",
    "loop.select": "--select",
}
"""Flags for what is typed by hand, beside the dotted ones."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments, a flag for every setting among them."""
    parser.add_argument("--config", type=Path, help="TOML file of settings; it may inherit a recipe")
    add_set(parser)
    parser.add_argument(
        "--from", dest="start_from", type=Path, metavar="BUNDLE", help="begin with the weights of a bundle or run"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the run")
    parser.add_argument("--resume", action="store_true", help="go on with the run in --out")
    add_device_argument(parser)
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    add_flags(parser, RunConfig, SHORT_FLAGS)


def run(arguments: argparse.Namespace) -> int:
    """Train and print where the weights are; a run that is stopped is saved."""
    from train.training.distributed import processes
    from train.training.fit import fit

    config = fit_config(arguments)
    with processes(arguments.device) as mine:
        result = fit(config, arguments.out, mine, arguments.resume, arguments.start_from, arguments.quiet)
        if result.interrupted:
            if mine.first:
                print(f"interrupted and saved: go on with --resume --out {result.out}", file=sys.stderr)
            return Exit.INTERRUPTED
        if mine.first:
            print(result.out / result.selected)
    return Exit.DONE


def fit_config(arguments: argparse.Namespace) -> RunConfig:
    """The configuration of the command's arguments; what a bundle says of its model stands below them."""
    known: list[Layer] = []
    if arguments.start_from:
        from train.training.transfer import bundle_model

        known = [Layer({"model": bundle_model(arguments.start_from)}, str(arguments.start_from))]
    return read_config(arguments.config, flags_of(arguments, RunConfig), arguments.set, known)
