"""The truth of files in a CSV, and which row's file is meant by which of its paths.

The CSV has a column ``truth`` (or ``label``, as lists of one's own clips have) with the class name, or vote columns
named after classes (FER+'s `unknown` and `NF` too), of which a strict plurality is the label; a file without one has
none. Rows find their truth by file name; where several files have one name, as in class folders, by as much of the path
as both sides have, and a name that may still be several files' is refused.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from calibration.settings import CalibrationError
from engine.spec import SpecError, canonical_class

# FER+'s columns for votes that name no expression, and for no face.
_NO_CLASS = ("unknown", "nf")


@dataclass(frozen=True)
class TruthTable:
    """Where a CSV says what is true.

    Attributes:
        file: The CSV.
        key: Its column that holds a row's file name, or its path where names repeat; ``path`` where it has no ``name``.
        group: Its column of groups; empty for every row its own.
        where: ``column=value``: only such rows; empty for all.
    """

    file: Path
    key: str = "name"
    group: str = ""
    where: str = ""


@dataclass(frozen=True)
class Truth:
    """What a CSV says of one file.

    Attributes:
        path: The file, as far as the CSV names it.
        label: Class index; None where its votes name no class of the bundle.
        group: Rows of one group never stand on both sides of a fold.
    """

    path: PurePath
    label: int | None
    group: str


class TruthIndex:
    """Finds the truth of a row by its path.

    Args:
        table: Where it was read from.
        truths: What :func:`read_truth` gave.
    """

    def __init__(self, table: TruthTable, truths: Sequence[Truth]) -> None:
        self._table = table
        self._by_name: dict[str, list[Truth]] = {}
        self._paths: dict[str, set[PurePath]] = {}
        for truth in truths:
            self._by_name.setdefault(truth.path.name, []).append(truth)

    def expect(self, paths: Iterable[PurePath]) -> None:
        """Take note of all rows' paths: a name that several of them share says too little."""
        for path in paths:
            self._paths.setdefault(path.name, set()).add(path)

    def find(self, path: PurePath, where: str) -> Truth | None:
        """The truth of a row's file; None where there is none.

        Raises:
            CalibrationError: If it cannot be told which file is meant.
        """
        named = self._by_name.get(path.name, [])
        if len(named) == 1 and len(self._paths[path.name]) == 1:
            return named[0]
        agreed = [_agreement(truth.path, path) for truth in named]
        most = max(agreed, default=0)
        if not most:
            return None
        best = [truth for truth, parts in zip(named, agreed, strict=True) if parts == most]
        if len(best) > 1 or most == 1:
            others = sorted(str(each) for each in {truth.path for truth in best} | self._paths[path.name])
            raise CalibrationError(
                f"{where}: more than one file is named {path.name} ({', '.join(others[:3])})",
                f"write paths like {PurePath('happiness', path.name)} into column {self._table.key!r} of "
                f"{self._table.file}, and score from the folder above",
            )
        return best[0]


def _agreement(one: PurePath, other: PurePath) -> float:
    """How many last parts two paths share where they agree as far as both go, else 0; more than all if they are one."""
    if one == other:
        return math.inf
    pairs = list(zip(reversed(one.parts), reversed(other.parts), strict=False))
    return len(pairs) if all(a == b for a, b in pairs) else 0


def read_truth(table: TruthTable, labels: Sequence[str]) -> list[Truth]:
    """What a CSV says is true, one entry for each file it names.

    Raises:
        CalibrationError: If it cannot be read, lacks a column, or says two things of one file.
    """
    column, _, wanted = table.where.partition("=")
    found: dict[PurePath, Truth] = {}
    try:
        with table.file.open(encoding="utf-8", newline="") as stream:
            reader = csv.DictReader(stream)
            names = list(reader.fieldnames or ())
            key = "path" if table.key == "name" and "name" not in names and "path" in names else table.key
            truth_column = next((name for name in ("truth", "label") if name in names), None)
            for needed in filter(None, (key, table.group, column)):
                if needed not in names:
                    raise CalibrationError(f"{table.file} has no column {needed!r}; it has {names}")
            votes = _vote_columns(names, labels)
            if truth_column is None and not votes:
                raise CalibrationError(
                    f"{table.file} has neither a column 'truth' or 'label' nor a vote column for each class"
                )
            for row in reader:
                if column and row[column] != wanted:
                    continue
                where = f"{table.file}:{reader.line_num}"
                named = None if truth_column is None else row[truth_column]
                label = _plurality(row, votes, where) if named is None else class_index(named, labels, where)
                path = PurePath(row[key])
                truth = Truth(path, label, row[table.group] if table.group else str(path))
                if found.setdefault(path, truth) != truth:
                    raise CalibrationError(f"{where} says of {path} what another row does not", "keep one of the two")
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise CalibrationError(f"cannot read {table.file}: {error}") from error
    return list(found.values())


def _vote_columns(names: Sequence[str], labels: Sequence[str]) -> dict[str, int | None]:
    """Every vote column, with the index of its class in the bundle, None for others; empty if a class has none."""
    votes: dict[str, int | None] = {}
    for name in names:
        try:
            label = canonical_class(name)
        except SpecError:
            if name.lower() in _NO_CLASS:
                votes[name] = None
            continue
        votes[name] = list(labels).index(label) if label in labels else None
    return votes if set(range(len(labels))) <= set(votes.values()) else {}


def _plurality(row: Mapping[str, str], votes: Mapping[str, int | None], where: str) -> int | None:
    """The bundle's class with more votes than anything else; None for a tie, no votes or another winner."""
    try:
        counts = {name: float(row[name] or 0) for name in votes}
    except ValueError as error:
        raise CalibrationError(f"{where}: votes must be numbers: {error}") from error
    best = max(counts.values())
    winners = [name for name, count in counts.items() if count == best]
    return votes[winners[0]] if best > 0 and len(winners) == 1 else None


def class_index(name: str, labels: Sequence[str], where: str) -> int:
    """The bundle's number of a class as data sets spell it.

    Raises:
        CalibrationError: If the bundle does not know it; `where` begins the line.
    """
    try:
        return list(labels).index(canonical_class(name))
    except (SpecError, ValueError) as error:
        raise CalibrationError(f"{where}: {name!r} is none of the bundle's classes {list(labels)}") from error
