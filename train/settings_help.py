"""The settings of a run as help text, read from the one place where each is documented: its dataclass."""

from __future__ import annotations

import dataclasses
import inspect
import re
import typing
from typing import Any

from train.settings import RunConfig


def attribute_texts(cls: type[Any]) -> dict[str, str]:
    """Text of each attribute from a class's Google-style ``Attributes`` section."""
    section = inspect.getdoc(cls) or ""
    body = section.partition("Attributes:\n")[2]
    texts: dict[str, str] = {}
    name = ""
    for line in body.splitlines():
        start = re.match(r"    (\w+): (.*)", line)
        if start:
            name = start[1]
            texts[name] = start[2]
        elif name and line.startswith("        "):
            texts[name] += " " + line.strip()
    return {key: text.replace("``", "") for key, text in texts.items()}


def settings_text() -> str:
    """All settings with their defaults, one per line, by section."""
    lines = ["settings (--set section.key=value, or a TOML file with these sections):"]
    hints = typing.get_type_hints(RunConfig)
    for section in dataclasses.fields(RunConfig):
        cls = hints[section.name]
        texts = attribute_texts(cls)
        lines.append(f"\n[{section.name}]")
        default = cls()
        for field in dataclasses.fields(cls):
            value = getattr(default, field.name)
            lines.append(f"  {field.name} = {_toml(value)}\n      {texts[field.name]}")
    return "\n".join(lines).replace("%", "%%")


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, tuple):
        return "[" + ", ".join(_toml(v) for v in value) + "]"
    return "{}" if isinstance(value, dict) else f"{value:g}" if isinstance(value, float) else str(value)
