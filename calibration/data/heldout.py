"""Held-out logits with their true labels, read from NPZ, or from JSON lines as ``dfer-stream score`` writes them.

Truth stands in the rows (``truth``) or in a CSV beside them (:mod:`calibration.data.truth`).
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import numpy.typing as npt

from calibration.data.truth import TruthIndex, TruthTable, class_index, read_truth
from calibration.settings import CalibrationError


@dataclass(frozen=True)
class Heldout:
    """Held-out answers.

    Attributes:
        logits: (n, C) float64, uncalibrated.
        labels: (n,) int64 class indices.
        groups: (n,) int64; rows of one group (twins, one person) never stand on both sides of a fold.
        skipped: Rows left out, by reason.
        now: (n, C) float64 uncalibrated logits of single samples; None where the rows have none.
        sha256: Of logits, labels and groups: what a fit was made from.
    """

    logits: npt.NDArray[np.float64]
    labels: npt.NDArray[np.int64]
    groups: npt.NDArray[np.int64]
    skipped: Mapping[str, int]
    now: npt.NDArray[np.float64] | None = None

    @property
    def of_now(self) -> Heldout | None:
        """The same rows by the logits of single samples."""
        return None if self.now is None else replace(self, logits=self.now, now=None)

    @property
    def sha256(self) -> str:
        """Hex SHA-256 of the arrays' bytes."""
        digest = hashlib.sha256()
        for array in (self.logits, self.labels, self.groups):
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()


def read(file: Path, labels: Sequence[str], truth: TruthTable | None = None) -> Heldout:
    """Read held-out answers.

    Args:
        file: ``.npz`` with ``logits`` (n, C), ``labels`` (n,) indices or names, optionally ``groups`` (n,); or JSON
            lines with ``logits`` (object by class name, or list), ``truth`` and optionally ``group``. ``now_logits``
            beside ``logits`` are those of single samples; they count where every row has them.
        labels: The bundle's C class names.
        truth: A CSV that holds the truth of JSON lines, joined on ``path``.

    Raises:
        CalibrationError: Naming the file and row that cannot be used, or if nothing usable is left.
    """
    rows = _read_npz(file, labels) if file.suffix == ".npz" else _read_lines(file, labels, truth)
    if not len(rows.labels):
        raise CalibrationError(f"{file} holds no usable row ({dict(rows.skipped) or 'it is empty'})")
    if rows.logits.shape != (len(rows.labels), len(labels)):
        raise CalibrationError(f"{file}: logits are {rows.logits.shape}, expected ({len(rows.labels)}, {len(labels)})")
    if rows.now is not None and rows.now.shape != rows.logits.shape:
        raise CalibrationError(f"{file}: now_logits are {rows.now.shape}, expected {rows.logits.shape}")
    if not all(np.isfinite(each).all() for each in (rows.logits, rows.now) if each is not None):
        raise CalibrationError(f"{file} holds a logit that is not finite")
    return rows


def _read_npz(file: Path, labels: Sequence[str]) -> Heldout:
    try:
        with np.load(file, allow_pickle=False) as arrays:
            logits, truth = np.asarray(arrays["logits"], dtype=np.float64), arrays["labels"]
            groups = arrays["groups"] if "groups" in arrays.files else np.arange(len(truth))
            now = np.asarray(arrays["now_logits"], dtype=np.float64) if "now_logits" in arrays.files else None
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise CalibrationError(f"cannot read logits and labels from {file}: {error}") from error
    if truth.dtype.kind in "US":
        truth = np.array([class_index(str(name), labels, str(file)) for name in truth])
    elif truth.size and (truth.min() < 0 or truth.max() >= len(labels)):
        raise CalibrationError(f"{file}: labels must be 0..{len(labels) - 1}")
    if len(groups) != len(truth) or logits.ndim != 2 or len(logits) != len(truth):
        raise CalibrationError(f"{file}: logits {logits.shape}, labels {truth.shape}, groups {groups.shape} do not fit")
    return Heldout(logits, truth.astype(np.int64), _group_numbers([str(g) for g in groups]), {}, now)


def _read_lines(file: Path, labels: Sequence[str], table: TruthTable | None) -> Heldout:
    known = TruthIndex(table, read_truth(table, labels)) if table is not None else None
    logits: list[list[float]] = []
    now: list[list[float]] = []
    truths: list[int] = []
    groups: list[str] = []
    skipped: dict[str, int] = {}
    try:
        text = file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CalibrationError(f"cannot read {file}: {error}") from error
    rows = [_row(line, f"{file}:{number}") for number, line in enumerate(text.splitlines(), start=1)]
    if known is not None:
        known.expect(PurePath(str(row.get("path", ""))) for row in rows)
    for number, row in enumerate(rows, start=1):
        where = f"{file}:{number}"
        if known is not None:
            found = known.find(PurePath(str(row.get("path", ""))), where)
            truth, group = (found.label, found.group) if found else (None, "")
        else:
            truth = _truth(row, labels, where)
            group = str(row.get("group", number))
        reason = "no truth" if truth is None else "no score" if row.get("logits") is None else ""
        if reason or truth is None:
            skipped[reason] = skipped.get(reason, 0) + 1
            continue
        logits.append(_logits(row["logits"], labels, where))
        if row.get("now_logits") is not None:
            now.append(_logits(row["now_logits"], labels, where))
        truths.append(truth)
        groups.append(group)
    matrix = np.asarray(logits, dtype=np.float64).reshape(len(logits), len(labels))
    single = np.asarray(now, dtype=np.float64) if now and len(now) == len(logits) else None
    return Heldout(matrix, np.asarray(truths, dtype=np.int64), _group_numbers(groups), skipped, single)


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
    return class_index(str(value), labels, where)


def _logits(value: Any, labels: Sequence[str], where: str) -> list[float]:
    try:
        numbers = [float(value[name]) for name in labels] if isinstance(value, dict) else [float(x) for x in value]
    except (KeyError, TypeError, ValueError) as error:
        raise CalibrationError(f"{where}: logits must hold a number for each of {list(labels)}: {error!r}") from error
    if len(numbers) != len(labels):
        raise CalibrationError(f"{where}: logits must hold a number for each of {list(labels)}, not {len(numbers)}")
    return numbers


def _group_numbers(names: Sequence[str]) -> npt.NDArray[np.int64]:
    if not len(names):
        return np.zeros(0, dtype=np.int64)
    return np.unique(np.asarray(names), return_inverse=True)[1].astype(np.int64)
