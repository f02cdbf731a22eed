"""``dfer-stream keys``: a CURVE key pair for publishing beyond this machine."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from engine.console import Exit
from engine.text import say
from stream.publish.keys import generate


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``dfer-stream keys``."""
    parser.add_argument("name", help="name of the key, for example the machine's")
    parser.add_argument(
        "--directory", type=Path, default=Path("keys"), help="folder to write to (default: %(default)s)"
    )


def run(args: argparse.Namespace) -> int:
    """Make a key pair and say what to do with it."""
    files = generate(args.directory, args.name)
    say(f"{files.secret}  keep on this machine (publish.secret_key, or listen --key)", sys.stdout)
    say(f"{files.public}  give to the other side (a file in publish.allowed_keys, or listen --server-key)", sys.stdout)
    return Exit.DONE
