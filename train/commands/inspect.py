"""``dfer-train inspect``."""

from __future__ import annotations

import argparse
import dataclasses
import json

from rich.console import Console

from engine.console import Exit
from train.commands.arguments import add_model_arguments


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_model_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")


def run(arguments: argparse.Namespace) -> int:
    """Count and print."""
    from train.bundle.inspect import inspect_model, render
    from train.models.registry import configure

    options = configure(arguments.model, assignments=arguments.set)
    inspection = inspect_model(arguments.model, arguments.encoder, options)
    if arguments.json:
        values = dataclasses.asdict(inspection)
        print(json.dumps({**values, "parameters": inspection.parameters, "trained": inspection.trained}, indent=2))
    else:
        render(inspection, Console())
    return Exit.DONE
