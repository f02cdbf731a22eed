"""``dfer-train default-model``."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from engine.settings import add_flags, add_set, flags_of, load
from train.default_model.recipe import AFTER, MakeSettings, read_recipe


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    recipe = read_recipe()
    stages, further = (*recipe.stages, *AFTER), recipe.further
    parser.add_argument(
        "--stages",
        nargs="+",
        choices=(*stages, *further),
        default=list(stages),
        metavar="STAGE",
        help=f"{', '.join(stages)}; all; and where named: {', '.join(further)}",
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with FER+'s train.zip, dev.zip and tables")
    add_set(parser)
    add_flags(parser, MakeSettings)


def run(arguments: argparse.Namespace) -> int:
    """Make the stages that are asked for."""
    from train.default_model.make import make

    given = load(MakeSettings, flags=flags_of(arguments, MakeSettings)).settings
    return make(replace(given, data=arguments.data), arguments.stages, arguments.set)
