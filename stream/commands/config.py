"""``dfer-stream config show | check | table``: the settings as they are, a file's mistakes, the README's table."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TextIO

from engine import settings
from engine.settings import Entry, values_of
from stream.config import ConfigError, Settings, add_flags, load, load_settings, public_value, show_value


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``dfer-stream config``."""
    commands = parser.add_subparsers(dest="config_command", required=True, metavar="COMMAND")
    show = commands.add_parser("show", help="print every setting, its meaning and where its value came from")
    show.add_argument("--json", action="store_true", help="print keys and values as one JSON object")
    add_flags(show)
    check = commands.add_parser("check", help="say whether a file of settings can be used")
    check.add_argument("file", type=Path, help="TOML file")
    commands.add_parser("table", help="print all settings as a Markdown table")


def run(args: argparse.Namespace, out: TextIO | None = None, err: TextIO | None = None) -> int:
    """``dfer-stream config``: 0, or 2 where the settings cannot be used."""
    out, err = out or sys.stdout, err or sys.stderr
    try:
        if args.config_command == "table":
            print(table(), file=out)
        elif args.config_command == "check":
            load(args.file)
            print(f"{args.file}: ok", file=out)
        else:
            loaded = load_settings(args)
            print(_json(loaded.settings) if args.json else show(loaded), file=out)
    except ConfigError as error:
        print(f"dfer-stream config: {error}", file=err)
        return 2
    return 0


def show(loaded: settings.Loaded[Settings]) -> str:
    """Every setting as TOML: its meaning above it, and beside it where its value came from.

    What is printed is a file that gives these settings again, but for credentials in a camera's URI.
    """
    values, section, lines = values_of(loaded.settings), "", []
    for entry in settings.entries(Settings):
        head, _, name = entry.key.rpartition(".")
        if head != section:
            section = head
            lines += ["", f"[{section}]"]
        value = public_value(entry.key, values[entry.key])
        origin = loaded.origins.get(entry.key)
        lines.append(f"# {entry.doc}")
        # TOML knows no "unset": the line is there to be uncommented.
        text = f"# {name} =" if value is None else f"{name} = {show_value(value)}"
        lines.append(text + (f"  # {origin}" if origin else ""))
    return "\n".join(lines).strip()


def table() -> str:
    """All settings as a Markdown table, for the README."""
    rows = ["| setting | type | default | meaning |", "|---|---|---|---|"]
    return "\n".join(rows + [_row(entry) for entry in settings.entries(Settings)])


def _row(entry: Entry) -> str:
    default = "" if entry.default is None else f"`{show_value(entry.default)}`"
    return f"| `{entry.key}` | {_cell(entry.type_name)} | {default} | {_cell(entry.doc)} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _json(chosen: Settings) -> str:
    known = {entry.key for entry in settings.entries(Settings)}
    values = {key: public_value(key, value) for key, value in values_of(chosen).items() if key in known}
    return json.dumps({key: str(value) if isinstance(value, Path) else value for key, value in values.items()})
