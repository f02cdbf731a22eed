"""The types a setting can have: from text, from what TOML or JSON gave, and back."""

from __future__ import annotations

import json
import re
import sys
import types
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

_WORDS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_NAMES = {bool: "true or false", int: "whole number", float: "number", str: "text", Path: "path"}


def supported(kind: Any) -> bool:
    """Whether text can set a field of this type."""
    if is_optional(kind):
        members = typing.get_args(kind)
        return len(members) == 2 and type(None) in members and supported(_set_kind(kind))
    if is_table(kind):
        name, value = typing.get_args(kind)
        return name is str and (value is Any or value in _NAMES)
    if typing.get_origin(kind) is tuple:
        return all(part is Ellipsis or part in _NAMES or _choices(part) for part in typing.get_args(kind))
    return kind in _NAMES or bool(_choices(kind))


def is_optional(kind: Any) -> bool:
    """Whether it is a union, of which only those with None are supported."""
    return typing.get_origin(kind) in (typing.Union, types.UnionType)


def is_table(kind: Any) -> bool:
    """Whether it is a table of names that are free."""
    return typing.get_origin(kind) is Mapping


def parse(kind: Any, text: str) -> Any:
    """A value from text, as a flag or a variable gives it; TOML's own way of writing it is understood as well.

    Raises:
        ValueError: If it is not of that type.
    """
    if is_optional(kind):
        return None if text.strip().lower() in ("", "none") else parse(_set_kind(kind), text)
    if is_table(kind):
        return check(kind, _toml(text, {} if not text.strip() else None))
    if typing.get_origin(kind) is tuple:
        if text.lstrip().startswith("["):
            return check(kind, _toml(text))
        return _each(kind, [part.strip() for part in text.split(",")] if text.strip() else [], parse)
    if kind is bool:
        if text.strip().lower() not in _WORDS:
            raise ValueError
        return _WORDS[text.strip().lower()]
    if kind is Any:
        return _toml(text, text.strip())
    if kind in (int, float):
        return check(kind, kind(text))
    plain = _toml(text, text) if text[:1] in ("'", '"') else text
    for choice in _choices(kind):
        if plain == str(choice):
            return choice
    return check(kind, plain)


def parse_member(kind: Any, text: str) -> Any:
    """One value of a table from text.

    Raises:
        ValueError: If it is not of the table's type.
    """
    return parse(typing.get_args(kind)[1], text)


def check(kind: Any, value: Any) -> Any:
    """A value from what TOML or JSON gave.

    Raises:
        ValueError: If it is not of that type.
    """
    if is_optional(kind):
        return None if value is None else check(_set_kind(kind), value)
    if is_table(kind):
        if not isinstance(value, Mapping):
            raise ValueError
        inner = typing.get_args(kind)[1]
        # A name with dots of its own need not be quoted.
        return dict(value) if inner is Any else {k: check(inner, v) for k, v in flat(value).items()}
    if typing.get_origin(kind) is tuple:
        if not isinstance(value, (list, tuple)):
            raise ValueError
        return _each(kind, list(value), check)
    choices = _choices(kind)
    if choices:
        if value not in choices:
            raise ValueError
        return value
    # TOML's own range (v1.0.0, "Integer"); beyond it no clock, buffer or thread count is meant.
    if isinstance(value, int) and not -(1 << 63) <= value < 1 << 63:
        raise ValueError
    if isinstance(value, str) and "\0" in value:
        raise ValueError  # no path, name or address of the system can hold it
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind is Path and isinstance(value, str):
        return Path(value)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise ValueError
    return value


def type_name(kind: Any) -> str:
    """A type as a reader of a table wants it."""
    if is_optional(kind):
        return type_name(_set_kind(kind)) + " or unset"
    if is_table(kind):
        inner = typing.get_args(kind)[1]
        return "table" if inner is Any else f"table of {type_name(inner)}"
    if typing.get_origin(kind) is tuple:
        inner = typing.get_args(kind)
        if inner[-1] is Ellipsis:
            return f"list of {type_name(inner[0])}"
        return f"{len(inner)} × {type_name(inner[0])}" if len(set(inner)) == 1 else ", ".join(map(type_name, inner))
    return " | ".join(repr(choice) for choice in _choices(kind)) or _NAMES[kind]


def from_toml(text: str) -> dict[str, Any]:
    """What a TOML document holds.

    Raises:
        ValueError: If it is none.
    """
    # Imported here, as in files.py: help needs neither, and is to be there at once.
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib

    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def as_toml(value: Any) -> str:
    """A value as TOML writes it; None, which TOML does not know, as ``unset``."""
    if value is None:
        return "unset"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(as_toml, value)) + "]"
    if isinstance(value, Mapping):
        named = [(name if _BARE_KEY.fullmatch(name) else _quoted(name), as_toml(held)) for name, held in value.items()]
        return "{" + ", ".join(f"{name} = {text}" for name, text in named) + "}"
    return str(value) if isinstance(value, (int, float)) else _quoted(str(value))


def as_text(value: Any) -> str:
    """A value as a flag gives it."""
    if isinstance(value, tuple) and all(isinstance(item, (int, float)) for item in value):
        return ",".join(map(str, value))
    if isinstance(value, (Mapping, tuple)):
        return as_toml(value)
    text = str(value)
    misread = text != text.strip() or text[:1] in ("'", '"') or text.lower() in ("", "none")
    return as_toml(value) if isinstance(value, str) and misread else text


def flat(table: Mapping[str, Any]) -> dict[str, Any]:
    """A table without tables in it: names joined by dots."""
    found: dict[str, Any] = {}
    for name, value in table.items():
        found |= {f"{name}.{k}": v for k, v in flat(value).items()} if isinstance(value, Mapping) else {name: value}
    return found


def _quoted(text: str) -> str:
    # What JSON escapes TOML does too; besides, whatever a terminal would not show.
    quoted = json.dumps(text, ensure_ascii=False)
    return "".join(
        c if c.isprintable() else f"\\u{ord(c):04x}" if ord(c) < 1 << 16 else f"\\U{ord(c):08x}" for c in quoted
    )


def _toml(text: str, otherwise: Any = None) -> Any:
    """A value as TOML writes it; `otherwise`, unless that is None, where it is none."""
    try:
        return from_toml(f"value = {text.strip()}")["value"]
    except ValueError:
        if otherwise is None:
            raise
        return otherwise


def _set_kind(kind: Any) -> Any:
    """The type that an optional setting has where it is set."""
    return next(member for member in typing.get_args(kind) if member is not type(None))


def _choices(kind: Any) -> tuple[Any, ...]:
    return typing.get_args(kind) if typing.get_origin(kind) is typing.Literal else ()


def _each(kind: Any, parts: list[Any], read: Callable[[Any, Any], Any]) -> tuple[Any, ...]:
    inner = typing.get_args(kind)
    if inner[-1] is Ellipsis:
        return tuple(read(inner[0], part) for part in parts)
    if len(inner) != len(parts):
        raise ValueError
    return tuple(read(each, part) for each, part in zip(inner, parts, strict=True))
