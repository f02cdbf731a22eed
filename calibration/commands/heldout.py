"""What the commands that measure share: the arguments that name held-out answers, and their figures as a table."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from calibration import data, evaluate
from calibration.settings import CalibrationError
from engine.bundle import Bundle
from engine.settings import add_flags, flags_of, load

_S = TypeVar("_S", bound="MeasureSettings")


ENV_PREFIX = "DFER_CALIBRATE_"


@dataclass(frozen=True)
class MeasureSettings:
    """How methods are measured.

    Attributes:
        folds: Parts by group, each answered by a fit on the others.
        seed: Of everything drawn.
        rounds: Bootstrap resamples.
    """

    folds: int = 5
    seed: int = 0
    rounds: int = 500

    def __post_init__(self) -> None:
        if self.folds < 2 or self.rounds < 20:
            raise CalibrationError("folds must be at least 2 and rounds at least 20")


def add_arguments(parser: argparse.ArgumentParser, settings: type[MeasureSettings]) -> None:
    """The bundle, where its held-out answers and their truth are, and how they are measured."""
    parser.add_argument("bundle", type=Path)
    parser.add_argument("rows", type=Path, help="NPZ of logits, labels, groups; or JSON lines of `dfer-stream score`")
    parser.add_argument(
        "--truth", type=Path, help="CSV with the truth of JSON lines: column 'truth' or 'label', or votes by class"
    )
    parser.add_argument("--key", default="name", help="its column of file names (default: name, or path)")
    parser.add_argument("--group", default="", help="its column of groups that stay together, for example twin_cluster")
    parser.add_argument("--where", default="", help="only rows of it with COLUMN=VALUE, for example first_of_cluster=1")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    add_flags(parser, settings)


def read_settings(args: argparse.Namespace, settings: type[_S]) -> _S:
    """What the flags of :func:`add_arguments` and the environment set."""
    return load(settings, environ=os.environ, flags=flags_of(args, settings), prefix=ENV_PREFIX).settings


def read(args: argparse.Namespace, bundle: Bundle) -> data.Heldout:
    """The held-out answers that the arguments name."""
    table = data.TruthTable(args.truth, args.key, args.group, args.where) if args.truth else None
    return data.read(args.rows, bundle.spec.labels, table)


def judge(settings: MeasureSettings, rows: data.Heldout, methods: Sequence[str]) -> list[evaluate.Judged]:
    """Figures of every method."""
    return [evaluate.judge(method, rows, settings.folds, settings.seed, settings.rounds) for method in methods]


def print_table(judged: list[evaluate.Judged], rows: data.Heldout) -> None:
    """A row per method, each figure with its interval."""
    skipped = "".join(f", {count} left out: {reason}" for reason, count in rows.skipped.items())
    print(f"{len(rows.labels)} rows, cross-fitted by group{skipped}")
    names = list(evaluate.FIGURES)
    print("  ".join(["method".ljust(12), *(name.rjust(24) for name in names)]))
    for each in judged:
        cells = [
            f"{each.figures[name]['value']:.4f} [{each.figures[name]['interval'][0]:.3f}, "
            f"{each.figures[name]['interval'][1]:.3f}]".rjust(24)
            for name in names
        ]
        print("  ".join([each.method.ljust(12), *cells]))
