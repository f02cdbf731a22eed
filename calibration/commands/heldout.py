"""What the commands that measure share: the arguments that name held-out answers, and their figures as a table."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from calibration import data, evaluate
from calibration.apply import CalibrationError
from engine.bundle import Bundle


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The bundle, and where its held-out answers and their truth are."""
    parser.add_argument("bundle", type=Path)
    parser.add_argument("rows", type=Path, help="NPZ of logits, labels, groups; or JSON lines of `dfer-stream score`")
    parser.add_argument("--truth", type=Path, help="CSV with the truth of JSON lines: column 'truth' or votes by class")
    parser.add_argument("--key", default="name", help="its column of file names (default: name)")
    parser.add_argument("--group", default="", help="its column of groups that stay together, for example twin_cluster")
    parser.add_argument("--where", default="", help="only rows of it with COLUMN=VALUE, for example first_of_cluster=1")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=500, help="bootstrap resamples (default 500)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")


def read(args: argparse.Namespace, bundle: Bundle) -> data.Heldout:
    """The held-out answers that the arguments name."""
    table = data.TruthTable(args.truth, args.key, args.group, args.where) if args.truth else None
    return data.read(args.rows, bundle.spec.labels, table)


def judge(args: argparse.Namespace, rows: data.Heldout, methods: Sequence[str]) -> list[evaluate.Judged]:
    """Figures of every method.

    Raises:
        CalibrationError: If they would mean nothing: too few folds or resamples.
    """
    if args.folds < 2 or args.rounds < 20:
        raise CalibrationError("--folds must be at least 2 and --rounds at least 20")
    return [evaluate.judge(method, rows, args.folds, args.seed, args.rounds) for method in methods]


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
