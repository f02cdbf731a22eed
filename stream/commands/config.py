"""``dfer-stream config show | check | table``: the settings as they are, a file's mistakes, the page SETTINGS.md."""

from __future__ import annotations

import argparse
from pathlib import Path

from engine import settings
from engine.console import Exit
from stream.config import Settings, add_flags, load_settings, public_value


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``dfer-stream config``."""
    commands = parser.add_subparsers(dest="config_command", required=True, metavar="COMMAND")
    show = commands.add_parser("show", help="print every setting, its meaning and where its value came from")
    show.add_argument("--json", action="store_true", help="print keys and values as one JSON object")
    add_flags(show)
    check = commands.add_parser("check", help="say whether a file of settings can be used")
    check.add_argument("file", type=Path, help="TOML file")
    commands.add_parser("table", help="print all settings as a Markdown table")


def run(args: argparse.Namespace) -> int:
    """Print what was asked for."""
    if args.config_command == "table":
        print(settings.table(Settings))
    elif args.config_command == "check":
        settings.load(Settings, args.file)
        print(f"{args.file}: ok")
    else:
        loaded = load_settings(args, several=True)
        print(settings.as_json(loaded.settings, public_value) if args.json else settings.show(loaded, public_value))
    return Exit.DONE
