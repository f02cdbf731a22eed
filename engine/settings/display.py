"""Settings for people: a commented TOML file, a Markdown table, one JSON object."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from engine.settings.entry import Entry, entries, values_of
from engine.settings.kinds import as_toml
from engine.settings.loading import Loaded
from engine.text import printable

Public = Callable[[str, Any], Any]
"""From a setting's key and value to the value as it may be printed."""


def _as_it_is(key: str, value: Any) -> Any:
    del key
    return value


def show(loaded: Loaded[Any], public: Public = _as_it_is) -> str:
    """Every setting as TOML: its meaning above it, and beside it where its value came from.

    What is printed is a file that gives these settings again, but for what `public` hides.
    """
    values = values_of(loaded.settings)
    # Values of the top class before any section, or TOML would take them for the section's.
    sections: dict[str, list[str]] = {"": []}
    for entry in entries(type(loaded.settings)):
        if entry.section not in sections:
            sections[entry.section] = ["", f"[{entry.section}]"]
        value = public(entry.key, values[entry.key])
        origin = loaded.origins.get(entry.key)
        # TOML knows no "unset": the line is there to be uncommented.
        text = f"# {entry.name} =" if value is None else f"{entry.name} = {as_toml(value)}"
        sections[entry.section] += [f"# {entry.doc}", text + (f"  # {printable(origin)}" if origin else "")]
    return "\n".join(line for lines in sections.values() for line in lines).strip()


def table(cls: type) -> str:
    """All settings of a dataclass as a Markdown table."""
    rows = ["| setting | type | default | meaning |", "|---|---|---|---|"]
    return "\n".join(rows + [_row(entry) for entry in entries(cls)])


def as_json(settings: Any, public: Public = _as_it_is) -> str:
    """Every setting by key, as one JSON object."""
    values = values_of(settings)
    shown = {entry.key: public(entry.key, values[entry.key]) for entry in entries(type(settings))}
    return json.dumps({key: str(value) if isinstance(value, Path) else value for key, value in shown.items()})


def _row(entry: Entry) -> str:
    default = "" if entry.default is None else f"`{as_toml(entry.default)}`"
    return f"| `{entry.key}` | {_cell(entry.type_name)} | {default} | {_cell(entry.doc)} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
