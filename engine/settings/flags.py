"""A flag for every setting, with its meaning as help."""

from __future__ import annotations

import argparse
from collections.abc import Collection, Mapping
from typing import Any

from engine.settings.entry import entries
from engine.settings.kinds import as_toml


def add_flags(
    parser: argparse.ArgumentParser,
    cls: type,
    short_flags: Mapping[str, str] | None = None,
    sections: Collection[str] | None = None,
    switches: bool = False,
    repeated: Collection[str] = (),
) -> None:
    """Give a parser a flag for every setting; read them back with :func:`flags_of`.

    Args:
        parser: Of one command.
        cls: The dataclass at the top.
        short_flags: Flags beside the dotted ones, by key, for what is typed by hand.
        sections: Fields of `cls` the command has a use for; all where not given.
        switches: Flags of bools stand alone, never followed by a value: for a command whose own arguments follow.
        repeated: Keys whose flags may be given several times; the program takes the lists apart itself.
    """
    groups: dict[str, Any] = {}
    for entry in entries(cls):
        top, dotted, _ = entry.key.partition(".")
        if sections is not None and top not in sections:
            continue
        title = f"[{top}]" if dotted else "settings"
        group = groups[title] = groups.get(title) or parser.add_argument_group(title)
        names = list(dict.fromkeys(name for name in ((short_flags or {}).get(entry.key), entry.flag) if name))
        text = f"{entry.doc} [{entry.type_name}; default {as_toml(entry.default)}]".replace("%", "%%")
        more: dict[str, Any] = {"metavar": entry.name.upper()}
        if entry.kind is bool:
            alone = {"action": "store_const"} if switches else {"nargs": "?", "metavar": "BOOL"}
            more = {"const": "true", **alone}
        if entry.key in repeated:
            more["action"] = "append"
        group.add_argument(*names, dest=entry.key, default=argparse.SUPPRESS, help=text, **more)


def add_set(parser: argparse.ArgumentParser, meaning: str = "any setting, by its key") -> None:
    """Give a parser ``--set KEY=VALUE``; ``args.set`` is what :func:`engine.settings.load` takes as assignments."""
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help=meaning)


def flags_of(args: argparse.Namespace, cls: type) -> dict[str, str]:
    """What was given of the flags of :func:`add_flags`: text by key."""
    keys = {entry.key for entry in entries(cls)}
    return {key: text for key, text in vars(args).items() if key in keys}
