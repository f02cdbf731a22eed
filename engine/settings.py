"""The mechanism of configuration: nested frozen dataclasses read from TOML, environment and flags.

A section is a frozen dataclass that checks itself on construction. What a setting means is written once, in its class's
docstring under ``Attributes:``; help texts, ``config show`` and the README's table are made from there. A key is the
path of field names, ``publish.bind``; its flag is ``--publish.bind``, its variable ``DFER_PUBLISH_BIND``.

Precedence: flag over environment over file over default. A key nobody knows is refused with the nearest one that is
known.
"""

from __future__ import annotations

import dataclasses
import difflib
import inspect
import re
import sys
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from engine.errors import DferError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ENV_PREFIX = "DFER_"
RESERVED_ENV = ("DFER_CONFIG", "DFER_SHARED_DATA")

_T = TypeVar("_T")
_WORDS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


class ConfigError(DferError):
    """A setting that cannot be used; the message names where it came from and what it must be."""


@dataclass(frozen=True)
class Entry:
    """One setting.

    Attributes:
        key: Path of field names, for example ``"publish.bind"``.
        kind: Its type, resolved.
        default: Its default.
        doc: What it means, one paragraph.
    """

    key: str
    kind: Any
    default: Any
    doc: str

    @property
    def flag(self) -> str:
        """The flag that sets it."""
        return "--" + self.key.replace("_", "-")

    @property
    def env(self) -> str:
        """The environment variable that sets it."""
        return ENV_PREFIX + self.key.replace(".", "_").upper()

    @property
    def type_name(self) -> str:
        """Its type as a reader of a table wants it."""
        return _type_name(self.kind)


@dataclass(frozen=True)
class Loaded(Generic[_T]):
    """Settings and, by key, where each that is not a default came from."""

    settings: _T
    origins: Mapping[str, str]


def attribute_docs(cls: type) -> dict[str, str]:
    """What a Google-style docstring's ``Attributes:`` section says of each field, one paragraph each."""
    text = inspect.cleandoc(cls.__doc__ or "")
    _, found, body = text.partition("Attributes:\n")
    docs: dict[str, list[str]] = {}
    name = ""
    for line in body.splitlines() if found else []:
        if line and not line.startswith(" "):
            break
        start = re.match(r" {4}(\w+): (.*)", line)
        if start:
            name = start[1]
            docs[name] = [start[2]]
        elif name and line.strip():
            docs[name].append(line.strip())
    return {field: " ".join(lines).replace("``", "`") for field, lines in docs.items()}


def entries(cls: type, prefix: str = "", hidden: frozenset[str] | None = None) -> list[Entry]:
    """Every setting of a dataclass and of the dataclasses nested in it, in order of declaration.

    Keys in the top class's ``HIDDEN`` (for tests, or set by the program itself) are left out.

    Raises:
        ConfigError: If a field is undocumented or of a type that no text can set.
    """
    hints, docs = typing.get_type_hints(cls), attribute_docs(cls)
    left_out: frozenset[str] = getattr(cls, "HIDDEN", frozenset()) if hidden is None else hidden
    found: list[Entry] = []
    for field in dataclasses.fields(cls):
        key, kind = prefix + field.name, hints[field.name]
        if dataclasses.is_dataclass(kind):
            found += entries(typing.cast(type, kind), key + ".", left_out)
            continue
        if key in left_out:
            continue
        if field.name not in docs:
            raise ConfigError(f"{cls.__name__}.{field.name} is not documented under Attributes:")
        if not _supported(kind):
            raise ConfigError(f"{cls.__name__}.{field.name}: no text can set a {kind}")
        default = field.default
        if default is dataclasses.MISSING:
            if field.default_factory is dataclasses.MISSING:
                raise ConfigError(f"{cls.__name__}.{field.name} needs a default")
            default = field.default_factory()
        found.append(Entry(key, kind, default, docs[field.name]))
    return found


def values_of(settings: Any, prefix: str = "") -> dict[str, Any]:
    """Every setting's value by key."""
    values: dict[str, Any] = {}
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if dataclasses.is_dataclass(value):
            values |= values_of(value, prefix + field.name + ".")
        else:
            values[prefix + field.name] = value
    return values


def load(
    cls: type[_T],
    file: Path | None = None,
    environ: Mapping[str, str] | None = None,
    flags: Mapping[str, str] | None = None,
) -> Loaded[_T]:
    """Settings from a TOML file, an environment and flags.

    Args:
        cls: The dataclass at the top.
        file: A TOML file, or None.
        environ: Environment variables; those of other programs are passed over.
        flags: Text by key, as given on the command line.

    Raises:
        ConfigError: On an unknown key, a value of the wrong type or out of range, or an unreadable file.
    """
    known = {entry.key: entry for entry in entries(cls)}
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for key, value in (_read_toml(file) if file is not None else {}).items():
        entry = _known(key, known, str(file))
        values[key], origins[key] = check_value(entry, value, str(file)), str(file)
    by_env = {entry.env: entry for entry in known.values()}
    for name, text in (environ or {}).items():
        if not name.startswith(ENV_PREFIX) or name in RESERVED_ENV:
            continue
        if name not in by_env:
            near = difflib.get_close_matches(name, by_env, 1, 0.8)
            if near:
                raise ConfigError(f"environment variable {name} is unknown; did you mean {near[0]}?")
            continue
        entry = by_env[name]
        values[entry.key], origins[entry.key] = parse_text(entry, text, f"variable {name}"), f"variable {name}"
    for key, text in (flags or {}).items():
        entry = _known(key, known, "the command line")
        values[key], origins[key] = parse_text(entry, text, f"flag {entry.flag}"), f"flag {entry.flag}"
    return Loaded(_build(cls, values, "", origins), origins)


def parse_text(entry: Entry, text: str, where: str) -> Any:
    """A setting's value from text, as flags and environment give it.

    Raises:
        ConfigError: If the text is not of the setting's type.
    """
    try:
        return _parse(entry.kind, text)
    except ValueError:
        raise ConfigError(f"{where}: {entry.key} must be {entry.type_name}, not {text!r}") from None


def check_value(entry: Entry, value: Any, where: str) -> Any:
    """A setting's value from what TOML gave.

    Raises:
        ConfigError: If it is of the wrong type.
    """
    try:
        return _check(entry.kind, value)
    except ValueError:
        raise ConfigError(f"{where}: {entry.key} must be {entry.type_name}, not {value!r}") from None


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        with file.open("rb") as stream:
            return _flatten(tomllib.load(stream), "")
    except OSError as error:
        raise ConfigError(f"cannot read {file}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} is not TOML: {error}") from error


def _flatten(table: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in table.items():
        flat |= _flatten(value, prefix + name + ".") if isinstance(value, dict) else {prefix + name: value}
    return flat


def _known(key: str, known: Mapping[str, Entry], where: str) -> Entry:
    if key in known:
        return known[key]
    if any(name.startswith(key + ".") for name in known):
        raise ConfigError(f"{where}: {key} is a section: write [{key}] and its settings under it")
    near = difflib.get_close_matches(key, known, 1, 0.5)
    # A field put under the wrong section is nearest to its own name elsewhere.
    leaf = [name for name in known if name.rpartition(".")[2] == key.rpartition(".")[2]]
    hint = (leaf or near or [""])[0]
    raise ConfigError(f"{where}: unknown setting {key}" + (f"; did you mean {hint}?" if hint else ""))


def _build(
    cls: type[_T],
    values: Mapping[str, Any],
    prefix: str,
    origins: Mapping[str, str],
) -> _T:
    hints = typing.get_type_hints(cls)
    given: dict[str, Any] = {}
    for field in dataclasses.fields(cls):  # type: ignore[arg-type]
        key = prefix + field.name
        if dataclasses.is_dataclass(hints[field.name]):
            given[field.name] = _build(hints[field.name], values, key + ".", origins)
        elif key in values:
            given[field.name] = values[key]
    try:
        return cls(**given)
    except DferError as error:
        places = sorted({origins[key] for key in origins if key.startswith(prefix)})
        section = f"[{prefix[:-1]}] " if prefix else ""
        raise ConfigError(f"{section}{error}" + (f" (from {', '.join(places)})" if places else "")) from error


def _members(kind: Any) -> tuple[Any, ...] | None:
    """The members of a union, None for any other type."""
    return typing.get_args(kind) if typing.get_origin(kind) in (typing.Union, types.UnionType) else None


def _supported(kind: Any) -> bool:
    members = _members(kind)
    if members is not None:
        return (
            len(members) == 2 and type(None) in members and all(_supported(m) for m in members if m is not type(None))
        )
    if typing.get_origin(kind) is tuple:
        return all(part is Ellipsis or part in (bool, int, float, str) for part in typing.get_args(kind))
    return typing.get_origin(kind) is typing.Literal or kind in (bool, int, float, str, Path)


def _parse(kind: Any, text: str) -> Any:
    members = _members(kind)
    if members is not None:
        if text.strip().lower() in ("", "none"):
            return None
        return _parse(next(m for m in members if m is not type(None)), text)
    if typing.get_origin(kind) is tuple:
        parts = [part.strip() for part in text.split(",")] if text.strip() else []
        return _each(kind, parts, _parse)
    if typing.get_origin(kind) is typing.Literal:
        return _check(kind, text)
    if kind is bool:
        if text.strip().lower() not in _WORDS:
            raise ValueError
        return _WORDS[text.strip().lower()]
    return kind(text)


def _check(kind: Any, value: Any) -> Any:
    members = _members(kind)
    if members is not None:
        return _check(next(m for m in members if m is not type(None)), value)
    if typing.get_origin(kind) is tuple:
        if not isinstance(value, list):
            raise ValueError
        return _each(kind, value, _check)
    if typing.get_origin(kind) is typing.Literal:
        if value not in typing.get_args(kind):
            raise ValueError
        return value
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind is Path and isinstance(value, str):
        return Path(value)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise ValueError
    return value


def _each(kind: Any, parts: list[Any], read: Any) -> tuple[Any, ...]:
    inner = typing.get_args(kind)
    if inner[-1] is Ellipsis:
        return tuple(read(inner[0], part) for part in parts)
    if len(inner) != len(parts):
        raise ValueError
    return tuple(read(each, part) for each, part in zip(inner, parts, strict=True))


def _type_name(kind: Any) -> str:
    members = _members(kind)
    if members is not None:
        return _type_name(next(m for m in members if m is not type(None))) + " or unset"
    if typing.get_origin(kind) is tuple:
        inner = typing.get_args(kind)
        if inner[-1] is Ellipsis:
            return f"list of {_type_name(inner[0])}"
        return f"{len(inner)} × {_type_name(inner[0])}"
    if typing.get_origin(kind) is typing.Literal:
        return " | ".join(repr(choice) for choice in typing.get_args(kind))
    plain = {bool: "true or false", int: "whole number", float: "number", str: "text", Path: "path"}
    return plain[kind]
