"""One setting: its key, type, default and meaning, read off the dataclass that declares it."""

from __future__ import annotations

import dataclasses
import difflib
import inspect
import re
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from engine.errors import DferError
from engine.settings.kinds import is_optional, is_table, supported, type_name


class SettingsError(DferError):
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
    def section(self) -> str:
        """The path of the dataclass it stands in, empty for the top one."""
        return self.key.rpartition(".")[0]

    @property
    def name(self) -> str:
        """Its field's name."""
        return self.key.rpartition(".")[2]

    @property
    def flag(self) -> str:
        """The flag that sets it."""
        return "--" + self.key.replace("_", "-")

    @property
    def type_name(self) -> str:
        """Its type as a reader of a table wants it."""
        return type_name(self.kind)

    def env(self, prefix: str) -> str:
        """The environment variable that sets it, in a program of this prefix."""
        return prefix + self.key.replace(".", "_").upper()


def entries(cls: type, prefix: str = "", hidden: frozenset[str] | None = None) -> list[Entry]:
    """Every setting of a dataclass and of the dataclasses nested in it, in order of declaration.

    Keys in the top class's ``HIDDEN`` (for tests, or set by the program itself) are left out.

    Raises:
        SettingsError: If a field is undocumented or of a type that no text can set.
    """
    hints = typing.get_type_hints(cls)
    # A field is documented where it is declared, be it in a base.
    docs = {name: doc for base in reversed(cls.__mro__) for name, doc in attribute_docs(base).items()}
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
            raise SettingsError(f"{cls.__name__}.{field.name} is not documented under Attributes:")
        if not supported(kind):
            raise SettingsError(f"{cls.__name__}.{field.name}: no text can set a {kind}")
        default = field.default
        if default is dataclasses.MISSING:
            if field.default_factory is dataclasses.MISSING:
                raise SettingsError(f"{cls.__name__}.{field.name} needs a default")
            default = field.default_factory()
        if default is not None and is_optional(kind):
            raise SettingsError(f"{cls.__name__}.{field.name} could not be unset in a file: give it the default None")
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


def find(key: str, known: Mapping[str, Entry], where: str) -> tuple[Entry, str]:
    """The setting a key names, and the name within it where it is a table.

    Raises:
        SettingsError: If there is none; the message has the nearest.
    """
    if key in known:
        return known[key], ""
    for entry in known.values():
        if is_table(entry.kind) and key.startswith(entry.key + "."):
            return entry, key[len(entry.key) + 1 :]
    if any(name.startswith(key + ".") for name in known):
        raise SettingsError(f"{where}: {key} is a section: write [{key}] and its settings under it")
    near = difflib.get_close_matches(key, known, 1, 0.5)
    # A field put under the wrong section is nearest to its own name elsewhere.
    namesakes = [entry.key for entry in known.values() if entry.name == key.rpartition(".")[2]]
    hint = (difflib.get_close_matches(key, namesakes, 1, 0.0) or near or [""])[0]
    raise SettingsError(f"{where}: unknown setting {key}", f"did you mean {hint}?" if hint else "")


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
