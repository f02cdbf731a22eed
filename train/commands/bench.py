"""``dfer-train bench``."""

from __future__ import annotations

import argparse
import json

from rich.console import Console

from engine.console import Exit
from engine.settings import Layer, add_set
from train.commands.arguments import add_device_argument
from train.recipes import read_config


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--model", default="tg-dfer", help="tg-dfer, dk-clip or clip-guided, with its paper's recipe")
    parser.add_argument("--encoder", default="vit-b-32", help="vit-b-32, vit-b-16, compact or tiny")
    add_set(parser, "any setting of fit")
    parser.add_argument("--steps", type=int, default=20, help="timed optimizer steps, after 3 untimed ones")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    add_device_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    """Time the step and print."""
    from train.training.bench import measure_step, render
    from train.training.distributed import processes

    model = Layer({"model": {"name": arguments.model, "encoder": arguments.encoder}}, "the command line")
    config = read_config(assignments=arguments.set, below=[model])
    with processes(arguments.device) as mine:
        report = measure_step(config, mine, arguments.steps)
    if arguments.json:
        print(json.dumps(report, indent=1))
    else:
        render(report, Console())
    return Exit.DONE
