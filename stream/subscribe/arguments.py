"""Arguments of every command that subscribes: where from, which source, with which keys."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_endpoint(parser: argparse.ArgumentParser, source: str) -> None:
    """Declare ``ENDPOINT`` and ``--source``.

    Args:
        parser: Of one command.
        source: Help of ``--source``: what is done with that source.
    """
    parser.add_argument(
        "endpoint",
        nargs="?",
        help="ipc:///path or tcp://host:port (default: this machine's only source, else tcp://127.0.0.1:5570)",
    )
    parser.add_argument("--source", default="", help=source)


def add_keys(parser: argparse.ArgumentParser) -> None:
    """Declare ``--key`` and ``--server-key``."""
    parser.add_argument("--key", type=Path, help="own secret key file, for a publisher beyond this machine")
    parser.add_argument("--server-key", type=Path, help="the publisher's public key file")
