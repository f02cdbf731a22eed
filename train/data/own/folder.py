"""A folder of one's own clips: whose class and whose face each is, and nothing vanishes without a word.

The class is a folder's name on the way to the clip, in any spelling that is known or mapped in ``dataset.toml``. The
person is what the pattern of ``dataset.toml`` finds in the path, or else the other folder on the way.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.spec import SpecError, canonical_class
from engine.text import printable
from stream.camera.kinds import VIDEO, used_as
from train.data.record import Clip, DataError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

DATASET = "dataset.toml"

EXAMPLE = """[classes]
joyful = "happiness"     # a folder's name = the class it means
rubbish = ""             # clips of this folder are left out

[people]
pattern = '(p\\d+)_'      # what the first group finds in a clip's path is who is seen
"""
"""A ``dataset.toml``."""


@dataclass(frozen=True)
class Mapped:
    """What ``dataset.toml`` says.

    Attributes:
        classes: Folder name -> canonical class, or "" to leave its clips out.
        person: Finds the person in a clip's path below the folder; None: the folder that is not the class.
    """

    classes: Mapping[str, str] = field(default_factory=dict)
    person: re.Pattern[str] | None = None


@dataclass
class OwnFolder:
    """What lies in a folder.

    Attributes:
        root: The folder.
        clips: Clips of known class, by path.
        unknown: Folder name -> clips below it whose class nobody knows.
        left_out: Clips that ``dataset.toml`` leaves out.
        unused: Files that are no video.
    """

    root: Path
    clips: list[Clip] = field(default_factory=list)
    unknown: dict[str, list[str]] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)

    def known(self) -> list[Clip]:
        """The clips, where every class folder is known.

        Raises:
            DataError: If a folder's class is not known, or there is no clip at all.
        """
        if self.unknown:
            told = ", ".join(f"{printable(name)} ({len(clips)} clips)" for name, clips in sorted(self.unknown.items()))
            raise DataError(
                f"{self.root}: these folders name no class that is known: {told}",
                f'say in {self.root / DATASET} under [classes] which class each means, or "" to leave it out',
            )
        if not self.clips:
            raise DataError(f"no videos in class folders below {self.root}", "or give a CSV path,label[,subject]")
        return self.clips


def read_folder(root: Path) -> OwnFolder:
    """Read a folder of clips.

    Args:
        root: The folder, with ``<class>/<clip>``, ``<class>/<person>/<clip>`` or ``<person>/<class>/<clip>`` in it.

    Raises:
        DataError: If it is no folder or its ``dataset.toml`` cannot be used.
    """
    if not root.is_dir():
        raise DataError(f"{root} is no folder")
    mapped = read_mapped(root)
    found = OwnFolder(root)
    for path in sorted(p for p in root.rglob("*") if p.is_file() and not _hidden(p.relative_to(root))):
        place = path.relative_to(root)
        if place == Path(DATASET):
            continue
        if used_as(path) != VIDEO:
            found.unused.append(str(place))
            continue
        folders = place.parts[:-1]
        meant = [(name, label) for name in folders if (label := _class_of(name, mapped)) is not None]
        if not meant:
            found.unknown.setdefault(folders[0] if folders else ".", []).append(str(place))
            continue
        name, label = meant[-1]
        if not label:
            found.left_out.append(str(place))
            continue
        found.clips.append(Clip(str(place), path, label, _person(place, name, mapped)))
    return found


def read_mapped(root: Path) -> Mapped:
    """Read ``dataset.toml`` of a folder; nothing is mapped where there is none.

    Raises:
        DataError: If it cannot be read, has unknown keys, or names a class that does not exist.
    """
    path = root / DATASET
    if not path.is_file():
        return Mapped()
    try:
        values: dict[str, Any] = tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {error}", f"an example:\n{EXAMPLE}") from error
    classes, people = values.pop("classes", {}), values.pop("people", {})
    if values or not isinstance(classes, dict) or not isinstance(people, dict) or people.keys() - {"pattern"}:
        raise DataError(f"{path}: it has [classes] and [people] pattern, and nothing else", f"an example:\n{EXAMPLE}")
    try:
        mapped = {name: canonical_class(str(label)) if label else "" for name, label in classes.items()}
    except SpecError as error:
        raise DataError(f"{path}: {error}") from error
    pattern = people.get("pattern")
    try:
        person = re.compile(pattern) if isinstance(pattern, str) else None
    except re.error as error:
        raise DataError(f"{path}: the pattern {pattern!r} is no regular expression ({error})") from error
    if person is not None and person.groups < 1:
        raise DataError(f"{path}: the pattern {pattern!r} has no group", "put what names the person in parentheses")
    return Mapped(mapped, person)


def _hidden(place: Path) -> bool:
    return any(part.startswith(".") for part in place.parts)


def _class_of(folder: str, mapped: Mapped) -> str | None:
    if folder in mapped.classes:
        return mapped.classes[folder]
    try:
        return canonical_class(folder)
    except SpecError:
        return None


def _person(place: Path, class_folder: str, mapped: Mapped) -> str:
    if mapped.person is not None:
        match = mapped.person.search(place.as_posix())
        return (match[1] or "") if match else ""
    others = [name for name in place.parts[:-1] if name != class_folder]
    return others[-1] if others else ""
