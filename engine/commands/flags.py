"""Flags that several commands have."""

from __future__ import annotations

import argparse

from engine.backends.choice import NAMES
from engine.bundle.golden import Bounds
from engine.settings.arguments import count


def add_backend(parser: argparse.ArgumentParser) -> None:
    """``--backend``."""
    parser.add_argument("--backend", choices=NAMES, default="auto", help="auto takes the best that is installed here")


def add_threads(parser: argparse.ArgumentParser) -> None:
    """``--threads``."""
    parser.add_argument("--threads", type=count(), help="CPU threads (default: all cores)")


def add_bounds(parser: argparse.ArgumentParser) -> None:
    """``--max-delta`` and ``--top1``."""
    default = Bounds()
    parser.add_argument(
        "--max-delta",
        type=float,
        default=default.max_delta,
        help="gate: largest difference of a probability (%(default)s)",
    )
    parser.add_argument(
        "--top1", type=float, default=default.top1, help="gate: smallest share of equal classes (%(default)s)"
    )


def bounds(args: argparse.Namespace) -> Bounds:
    """What :func:`add_bounds` was told."""
    return Bounds(args.max_delta, args.top1)
