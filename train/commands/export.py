"""``dfer-train export``."""

from __future__ import annotations

import argparse
from pathlib import Path

from engine.console import Exit


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("source", type=Path, metavar="RUN", help="the run's folder")
    parser.add_argument("--out", type=Path, required=True, help="the bundle's directory")
    parser.add_argument("--weights", choices=("best", "last"), help="default: what the run selects")
    parser.add_argument("--opset", type=int, default=18, choices=(18, 23))


def run(arguments: argparse.Namespace) -> int:
    """Export the run and print where the bundle is."""
    from train.bundle.export import export_run

    weights = f"{arguments.weights}.safetensors" if arguments.weights else None
    print(export_run(arguments.source, arguments.out, weights, arguments.opset).path)
    return Exit.DONE
