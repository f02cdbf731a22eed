"""``dfer-engine verify``: every file, and the golden vectors once more."""

from __future__ import annotations

import argparse
from pathlib import Path

from engine.build.build import verify
from engine.commands.flags import add_bounds, add_threads, bounds
from engine.commands.report import add_json, parity_line, show


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``dfer-engine verify``."""
    parser.add_argument("path", type=Path, help="a bundle's or engine's directory")
    parser.add_argument(
        "--adopt", action="store_true", help="prove here what was proven elsewhere, and record this machine"
    )
    add_bounds(parser)
    add_threads(parser)
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Verify."""
    parity = verify(args.path, bounds(args), args.threads, args.adopt).to_dict()
    said = "ok, and recorded as proven on this machine" if args.adopt else "ok"
    values = {"path": str(args.path), "parity": parity, "adopted": args.adopt}
    return show(args, values, [f"{args.path}: {said}", parity_line(parity)])
