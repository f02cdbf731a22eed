"""``dfer-engine bench``: milliseconds per step beside floors."""

from __future__ import annotations

import argparse
from pathlib import Path

from engine.bench.latency import measure, table
from engine.commands.flags import add_backend, add_threads
from engine.commands.report import add_json, show
from engine.settings.arguments import count

PRECISIONS = ("fp16", "bf16", "fp32", "int8")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``dfer-engine bench``."""
    parser.add_argument("path", type=Path, help="a bundle's or engine's directory")
    add_backend(parser)
    parser.add_argument(
        "--precision", choices=("fp16", "bf16", "fp32", "int8"), help="left out: measured or the default"
    )
    add_threads(parser)
    parser.add_argument("--batches", type=_counts, default=(1, 2, 4, 8), help="faces per step (default 1,2,4,8)")
    parser.add_argument("--windows", type=_counts, default=(8, 16, 32, 64), help="ring lengths (default 8,16,32,64)")
    parser.add_argument("--rounds", type=count(), default=20, help="timed rounds per figure (default 20)")
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Measure."""
    report = measure(args.path, args.backend, args.precision, args.threads, args.batches, args.windows, args.rounds)
    return show(args, report, table(report))


def _counts(text: str) -> tuple[int, ...]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and int(part) for part in parts):
        raise argparse.ArgumentTypeError(f"whole numbers from 1, separated by commas, not {text!r}")
    return tuple(int(part) for part in parts)
