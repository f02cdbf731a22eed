"""Held-out logits with their true labels, read from NPZ, or from JSON lines as ``dfer-stream score`` writes them.

Truth may stand in the rows (``truth``) or in a CSV beside them: a column with the class name, or vote columns named
after classes (FER+'s `unknown` and `NF` too), of which a strict plurality is the label; a row without one is left out.
"""

from __future__ import annotations

import csv
import hashlib
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import numpy.typing as npt

from calibration.apply import CalibrationError
from engine.spec import SpecError, canonical_class

# FER+'s columns for votes that name no expression, and for no face.
_NO_CLASS = ("unknown", "nf")


@dataclass(frozen=True)
class Heldout:
    """Held-out answers.

    Attributes:
        logits: (n, C) float64, uncalibrated.
        labels: (n,) int64 class indices.
        groups: (n,) int64; rows of one group (twins, one person) never stand on both sides of a fold.
        skipped: Rows left out, by reason.
        sha256: Of logits, labels and groups: what a fit was made from.
    """

    logits: npt.NDArray[np.float64]
    labels: npt.NDArray[np.int64]
    groups: npt.NDArray[np.int64]
    skipped: Mapping[str, int]

    @property
    def sha256(self) -> str:
        """Hex SHA-256 of the arrays' bytes."""
        digest = hashlib.sha256()
        for array in (self.logits, self.labels, self.groups):
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()


@dataclass(frozen=True)
class TruthTable:
    """Where a CSV says what is true.

    Attributes:
        file: The CSV.
        key: Its column that holds a row's file name.
        group: Its column of groups; empty for every row its own.
        where: ``column=value``: only such rows; empty for all.
    """

    file: Path
    key: str = "name"
    group: str = ""
    where: str = ""


def read(file: Path, labels: Sequence[str], truth: TruthTable | None = None) -> Heldout:
    """Read held-out answers.

    Args:
        file: ``.npz`` with ``logits`` (n, C), ``labels`` (n,) indices or names, optionally ``groups`` (n,); or JSON
            lines with ``logits`` (object by class name, or list), ``truth`` and optionally ``group``.
        labels: The bundle's C class names.
        truth: A CSV that holds the truth of JSON lines, joined on the last part of ``path``.

    Raises:
        CalibrationError: Naming the file and row that cannot be used, or if nothing usable is left.
    """
    rows = _read_npz(file, labels) if file.suffix == ".npz" else _read_lines(file, labels, truth)
    if not len(rows.labels):
        raise CalibrationError(f"{file} holds no usable row ({dict(rows.skipped) or 'it is empty'})")
    if rows.logits.shape != (len(rows.labels), len(labels)):
        raise CalibrationError(f"{file}: logits are {rows.logits.shape}, expected ({len(rows.labels)}, {len(labels)})")
    if not np.isfinite(rows.logits).all():
        raise CalibrationError(f"{file} holds a logit that is not finite")
    return rows


def _read_npz(file: Path, labels: Sequence[str]) -> Heldout:
    try:
        with np.load(file, allow_pickle=False) as arrays:
            logits, truth = np.asarray(arrays["logits"], dtype=np.float64), arrays["labels"]
            groups = arrays["groups"] if "groups" in arrays.files else np.arange(len(truth))
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise CalibrationError(f"cannot read logits and labels from {file}: {error}") from error
    if truth.dtype.kind in "US":
        truth = np.array([_index(str(name), labels, str(file)) for name in truth])
    elif truth.size and (truth.min() < 0 or truth.max() >= len(labels)):
        raise CalibrationError(f"{file}: labels must be 0..{len(labels) - 1}")
    if len(groups) != len(truth) or logits.ndim != 2 or len(logits) != len(truth):
        raise CalibrationError(f"{file}: logits {logits.shape}, labels {truth.shape}, groups {groups.shape} do not fit")
    return Heldout(logits, truth.astype(np.int64), _group_numbers([str(g) for g in groups]), {})


def _read_lines(file: Path, labels: Sequence[str], table: TruthTable | None) -> Heldout:
    known = _read_truth(table, labels) if table is not None else {}
    logits: list[list[float]] = []
    truths: list[int] = []
    groups: list[str] = []
    skipped: dict[str, int] = {}
    try:
        text = file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CalibrationError(f"cannot read {file}: {error}") from error
    for number, line in enumerate(text.splitlines(), start=1):
        where = f"{file}:{number}"
        row = _row(line, where)
        if table is not None:
            truth, group = known.get(PurePath(str(row.get("path", ""))).name, (None, ""))
        else:
            truth = _truth(row, labels, where)
            group = str(row.get("group", number))
        reason = "no truth" if truth is None else "no score" if row.get("logits") is None else ""
        if reason or truth is None:
            skipped[reason] = skipped.get(reason, 0) + 1
            continue
        logits.append(_logits(row["logits"], labels, where))
        truths.append(truth)
        groups.append(group)
    matrix = np.asarray(logits, dtype=np.float64).reshape(len(logits), len(labels))
    return Heldout(matrix, np.asarray(truths, dtype=np.int64), _group_numbers(groups), skipped)


def _row(line: str, where: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise CalibrationError(f"{where} is not JSON: {error}") from error
    if not isinstance(row, dict):
        raise CalibrationError(f"{where} is not a JSON object")
    return row


def _truth(row: Mapping[str, Any], labels: Sequence[str], where: str) -> int | None:
    value = row.get("truth")
    if value is None:
        return None
    if isinstance(value, int) and not isinstance(value, bool):
        if 0 <= value < len(labels):
            return value
        raise CalibrationError(f"{where}: truth must be 0..{len(labels) - 1} or a class name, not {value}")
    return _index(str(value), labels, where)


def _logits(value: Any, labels: Sequence[str], where: str) -> list[float]:
    try:
        numbers = [float(value[name]) for name in labels] if isinstance(value, dict) else [float(x) for x in value]
    except (KeyError, TypeError, ValueError) as error:
        raise CalibrationError(f"{where}: logits must hold a number for each of {list(labels)}: {error!r}") from error
    if len(numbers) != len(labels):
        raise CalibrationError(f"{where}: logits must hold a number for each of {list(labels)}, not {len(numbers)}")
    return numbers


def _read_truth(table: TruthTable, labels: Sequence[str]) -> dict[str, tuple[int | None, str]]:
    column, _, wanted = table.where.partition("=")
    found: dict[str, tuple[int | None, str]] = {}
    try:
        with table.file.open(encoding="utf-8", newline="") as stream:
            reader = csv.DictReader(stream)
            names = list(reader.fieldnames or ())
            for needed in filter(None, (table.key, table.group, column)):
                if needed not in names:
                    raise CalibrationError(f"{table.file} has no column {needed!r}; it has {names}")
            votes = _vote_columns(names, labels)
            if "truth" not in names and not votes:
                raise CalibrationError(f"{table.file} has neither a column 'truth' nor a vote column for each class")
            for row in reader:
                if column and row[column] != wanted:
                    continue
                truth = _index(row["truth"], labels, str(table.file)) if "truth" in names else _plurality(row, votes)
                name = PurePath(row[table.key]).name
                found[name] = (truth, row[table.group] if table.group else name)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise CalibrationError(f"cannot read {table.file}: {error}") from error
    return found


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


def _plurality(row: Mapping[str, str], votes: Mapping[str, int | None]) -> int | None:
    """The bundle's class with more votes than anything else; None for a tie, no votes or another winner."""
    counts = {name: float(row[name] or 0) for name in votes}
    best = max(counts.values())
    winners = [name for name, count in counts.items() if count == best]
    return votes[winners[0]] if best > 0 and len(winners) == 1 else None


def _index(name: str, labels: Sequence[str], where: str) -> int:
    try:
        return list(labels).index(canonical_class(name))
    except (SpecError, ValueError) as error:
        raise CalibrationError(f"{where}: {name!r} is none of the bundle's classes {list(labels)}") from error


def _group_numbers(names: Sequence[str]) -> npt.NDArray[np.int64]:
    if not len(names):
        return np.zeros(0, dtype=np.int64)
    return np.unique(np.asarray(names), return_inverse=True)[1].astype(np.int64)
