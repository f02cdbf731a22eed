"""Settings from files, environment and command line, the later over the earlier."""

from __future__ import annotations

import dataclasses
import difflib
import os
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from engine.errors import DferError
from engine.settings import kinds
from engine.settings.entry import Entry, SettingsError, entries, find
from engine.settings.layers import Layer, read_layers

PREFIXES = ("DFER_TRAIN_", "DFER_ENGINE_", "DFER_CALIBRATE_", "DFER_DRIVER_", "DFER_BRIDGE_")
"""Programs whose variables begin as those of ``dfer-stream`` do, with ``DFER_``, and are none of them."""
OWN_PREFIX = "DFER_"
"""What every variable of the four programs begins with."""
RESERVED = frozenset({"DFER_SHARED_DATA"})

_T = TypeVar("_T")


@dataclass(frozen=True)
class Loaded(Generic[_T]):
    """Settings and, by key, where each that is not a default came from."""

    settings: _T
    origins: Mapping[str, str]


def load(
    cls: type[_T],
    file: Path | None = None,
    environ: Mapping[str, str] | None = None,
    flags: Mapping[str, str] | None = None,
    *,
    prefix: str = "DFER_",
    parents: Mapping[str, Path] | None = None,
    below: Sequence[Layer] = (),
    assignments: Sequence[str] = (),
) -> Loaded[_T]:
    """Settings from a TOML file, an environment and a command line.

    A table of free names is merged name by name; text that gives the whole of it takes its place.

    Args:
        cls: The dataclass at the top.
        file: A TOML file, or None.
        environ: Environment variables; those of other programs are passed over.
        flags: Text by key, as given on the command line; see :func:`engine.settings.flags_of`.
        prefix: What this program's variables begin with; the variable that names its file is its own affair.
        parents: Files that `file` may inherit from, by name; see :func:`engine.settings.read_layers`.
        below: Layers under the file's, the lowest first.
        assignments: Of ``--set``, each ``key=value``, over everything else.

    Raises:
        SettingsError: On an unknown key, a value of the wrong type or out of range, or an unreadable file.
    """
    known = {entry.key: entry for entry in entries(cls)}
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for layer in (*below, *(read_layers(file, parents) if file is not None else ())):
        for entry, value in _settings_in(layer.values, "", known, layer.where):
            given = checked(entry, value, layer.where)
            values[entry.key] = _merged(values.get(entry.key), given) if kinds.is_table(entry.kind) else given
            origins[entry.key] = layer.where
    for name, (entry, text) in _variables(known, environ or {}, prefix).items():
        origin = origins[entry.key] = f"variable {name}"
        values[entry.key] = _parsed(entry, text, origin)
    for key, text in (flags or {}).items():
        entry, _ = find(key, known, "the command line")
        origin = origins[entry.key] = f"flag {entry.flag}"
        values[entry.key] = _parsed(entry, text, origin)
    for assignment in assignments:
        key, text = _split(assignment)
        entry, inner = find(key, known, "--set")
        origin = origins[entry.key] = f"flag --set {entry.key}"
        value = _parsed(entry, text, origin, inner)
        values[entry.key] = _merged(values.get(entry.key), _nested(entry, inner, value)) if inner else value
    return Loaded(_build(cls, values, "", origins), origins)


def child_environment(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment for a process that this one starts: without settings, which may hold a camera's password.

    What a child is to know it is told in its orders.

    Args:
        environ: The variables of this process if not given.
    """
    own = os.environ if environ is None else environ
    return {name: value for name, value in own.items() if not name.startswith(OWN_PREFIX)}


def _settings_in(
    table: Mapping[str, Any], prefix: str, known: Mapping[str, Entry], where: str
) -> Iterator[tuple[Entry, Any]]:
    for name, value in table.items():
        key = prefix + name
        if key not in known and isinstance(value, Mapping) and (value or any(k.startswith(key + ".") for k in known)):
            yield from _settings_in(value, key + ".", known, where)
        else:
            yield find(key, known, where)[0], value


def _variables(known: Mapping[str, Entry], environ: Mapping[str, str], prefix: str) -> dict[str, tuple[Entry, str]]:
    by_env = {entry.env(prefix): entry for entry in known.values()}
    others = tuple(other for other in PREFIXES if not prefix.startswith(other))
    found = {}
    for name, text in environ.items():
        if not name.startswith(prefix) or name.startswith(others) or name in RESERVED | {prefix + "CONFIG"}:
            continue
        if name in by_env:
            found[name] = by_env[name], text
        elif near := difflib.get_close_matches(name, by_env, 1, 0.8):
            raise SettingsError(f"environment variable {name} is unknown", f"did you mean {near[0]}?")
    return found


def _split(text: str) -> tuple[str, str]:
    """Key and text of one ``--set``."""
    key, sign, value = text.partition("=")
    if not sign or not key.strip():
        raise SettingsError(f"--set needs section.key=value, not {text!r}")
    return key.strip(), value.strip()


def _parsed(entry: Entry, text: str, where: str, inner: str = "") -> Any:
    """A setting's value from text, or one value of it where it is a table."""
    try:
        return kinds.parse_member(entry.kind, text) if inner else kinds.parse(entry.kind, text)
    except ValueError:
        name = kinds.type_name(typing.get_args(entry.kind)[1]) if inner else entry.type_name
        raise SettingsError(f"{where}: {entry.key}{inner and '.'}{inner} must be {name}, not {text!r}") from None


def checked(entry: Entry, value: Any, where: str) -> Any:
    """A setting's value from what TOML gave.

    Raises:
        SettingsError: If it is not of the setting's type.
    """
    try:
        return kinds.check(entry.kind, value)
    except ValueError:
        raise SettingsError(f"{where}: {entry.key} must be {entry.type_name}, not {value!r}") from None


def _nested(entry: Entry, inner: str, value: Any) -> dict[str, Any]:
    """A table with one value; only in a table of anything do dots lead to tables within."""
    if typing.get_args(entry.kind)[1] is not Any:
        return {inner: value}
    for name in reversed(inner.split(".")):
        value = {name: value}
    return typing.cast(dict[str, Any], value)


def _merged(base: Mapping[str, Any] | None, over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base or {})
    for name, value in over.items():
        old = merged.get(name)
        merged[name] = _merged(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged


def _build(cls: type[_T], values: Mapping[str, Any], prefix: str, origins: Mapping[str, str]) -> _T:
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
        raise SettingsError(f"{section}{error}" + (f" (from {', '.join(places)})" if places else "")) from error
