"""Layers of values that lie over one another: a TOML file's, and below it those of the files it inherits from."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.files import read_file
from engine.settings.entry import SettingsError
from engine.settings.kinds import from_toml

INHERITS = "inherits"
_MOST_BYTES = 1 << 20


@dataclass(frozen=True)
class Layer:
    """Values from one place.

    Attributes:
        values: Tables and values as TOML or JSON gives them.
        where: The place, as errors and origins name it.
    """

    values: Mapping[str, Any]
    where: str


def read_layers(file: Path, parents: Mapping[str, Path] | None = None) -> list[Layer]:
    """A TOML file's values, and before them those it inherits: ``inherits = "name"`` at the top of the file.

    Args:
        file: The file.
        parents: Files by the names under which they can be inherited from; None where nothing can be.

    Returns:
        The farthest ancestor first, the file itself last.

    Raises:
        SettingsError: If a file cannot be read, or one inherits from a name that is unknown or from itself.
    """
    layers: list[Layer] = []
    seen: list[Path] = []
    following: Path | None = file
    while following is not None:
        seen.append(following.absolute())
        values = _read(following)
        layers.insert(0, Layer(values, str(following)))
        name = values.pop(INHERITS, None) if parents is not None else None
        following, child = (None if name is None else _parent(name, parents or {}, following)), following
        if following is not None and following.absolute() in seen:
            raise SettingsError(f"{child} inherits from {name!r}, which inherits from it", "break the circle")
    return layers


def _parent(name: Any, parents: Mapping[str, Path], file: Path) -> Path:
    if isinstance(name, str) and name in parents:
        return parents[name]
    near = difflib.get_close_matches(str(name), parents, 1, 0.5)
    remedy = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(sorted(parents)) or 'none'}"
    raise SettingsError(f"{file} inherits from {name!r}, which is unknown", remedy)


def _read(file: Path) -> dict[str, Any]:
    try:
        return from_toml(read_file(file, _MOST_BYTES, pipes=True).decode("utf-8"))
    except OSError as error:
        raise SettingsError(f"cannot read {file}: {error.strerror}") from error
    except ValueError as error:
        raise SettingsError(f"{file} is not TOML: {error}") from error
