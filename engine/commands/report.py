"""What a command prints: lines for people, or one JSON object."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Mapping
from typing import Any

from engine.console import Exit


def add_json(parser: argparse.ArgumentParser) -> None:
    """The flag that every command has."""
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of text")


def show(args: argparse.Namespace, values: Mapping[str, Any], lines: Iterable[str]) -> Exit:
    """Print a command's result.

    Args:
        args: Of the command; ``json`` says in which form.
        values: JSON-ready.
        lines: The same for people.

    Returns:
        That all is done.
    """
    print(json.dumps(values, indent=2, sort_keys=True) if args.json else "\n".join(lines))
    return Exit.DONE


def parity_line(parity: Mapping[str, Any]) -> str:
    """The gate's figures for people."""
    return (
        f"gate: {parity['windows']} windows, probabilities within {parity['max_delta']:.5f} of FP32, "
        f"{parity['top1']:.1%} equal classes"
    )
