"""Reading a run's configuration from TOML and flags: unknown keys are refused with the nearest known one.

Order of precedence: ``--set section.key=value`` over the TOML file over the model's recipe (`train.recipes`) over the
defaults here. The whole is written to ``config.json`` of the run's folder.
"""

from __future__ import annotations

import dataclasses
import difflib
import sys
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from train.settings import ConfigError, RunConfig

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


_T = TypeVar("_T")


def from_mapping(cls: type[_T], values: Mapping[str, Any], where: str = "") -> _T:
    """Build a configuration dataclass from nested mappings.

    Args:
        cls: The dataclass.
        values: Its fields by name; nested dataclasses as mappings.
        where: Dotted path, for messages.

    Raises:
        ConfigError: On an unknown key (with the nearest known name), a wrong type or a value out of range.
    """
    hints = typing.get_type_hints(cls)
    fields = {f.name for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    built: dict[str, Any] = {}
    for key, value in values.items():
        path = f"{where}.{key}" if where else key
        if key not in fields:
            near = difflib.get_close_matches(key, fields, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(sorted(fields))}"
            raise ConfigError(f"unknown setting {path!r}: {hint}")
        built[key] = _coerce(value, hints[key], path)
    try:
        return cls(**built)
    except ConfigError:
        raise
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from error


def _coerce(value: Any, hint: Any, path: str) -> Any:
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        if not isinstance(value, Mapping):
            raise ConfigError(f"{path} must be a table")
        return from_mapping(hint, value, path)
    origin = typing.get_origin(hint)
    if origin is tuple:
        if not isinstance(value, Sequence) or isinstance(value, str):
            raise ConfigError(f"{path} must be a list, not {value!r}")
        args = typing.get_args(hint)
        kinds = [args[0]] * len(value) if args[-1] is Ellipsis else list(args)
        if len(kinds) != len(value):
            raise ConfigError(f"{path} must have {len(kinds)} values, not {len(value)}")
        return tuple(_coerce(v, kind, path) for v, kind in zip(value, kinds, strict=True))
    if origin is not None and not isinstance(hint, types.UnionType) and issubclass(origin, Mapping):
        if not isinstance(value, Mapping):
            raise ConfigError(f"{path} must be a table, not {value!r}")
        kind = typing.get_args(hint)[1]
        return {str(k): v if kind is Any else _coerce(v, kind, f"{path}.{k}") for k, v in value.items()}
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        raise ConfigError(f"{path} must be of type {hint.__name__}, not {value!r}")
    return value


def parse_assignment(text: str) -> tuple[str, Any]:
    """Read a flag ``section.key=value``; the value is written as in TOML, bare words are strings.

    Raises:
        ConfigError: If there is no ``=``.
    """
    key, sign, raw = text.partition("=")
    if not sign or not key.strip():
        raise ConfigError(f"--set needs section.key=value, not {text!r}")
    try:
        return key.strip(), tomllib.loads(f"value = {raw.strip()}")["value"]
    except tomllib.TOMLDecodeError:
        return key.strip(), raw.strip()


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Nested mappings, the second's values over the first's."""
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        merged[key] = merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged


def assign(values: Mapping[str, Any], key: str, value: Any) -> dict[str, Any]:
    """Set one dotted key in nested mappings."""
    head, dot, rest = key.partition(".")
    if not dot:
        return {**values, head: value}
    inner = values.get(head, {})
    if not isinstance(inner, Mapping):
        raise ConfigError(f"{head} is no table, so {key!r} cannot be set")
    # Prefixes of parameter names have dots of their own.
    if head == "groups":
        return {**values, head: {**inner, rest: value}}
    return {**values, head: assign(inner, rest, value)}


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises:
        ConfigError: If it is missing or not TOML.
    """
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}") from error


def load_config(file: Path | None, flags: Sequence[str] = (), recipe: Mapping[str, Any] | None = None) -> RunConfig:
    """The configuration of recipe, file and flags, later ones winning.

    Args:
        file: A TOML file, or None.
        flags: Assignments ``section.key=value``.
        recipe: Nested values below the file's, for example a paper's recipe.

    Raises:
        ConfigError: On anything unknown, of the wrong type or out of range.
    """
    values = merge(recipe or {}, read_toml(file) if file else {})
    for flag in flags:
        values = assign(values, *parse_assignment(flag))
    return from_mapping(RunConfig, values)
