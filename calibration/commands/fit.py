"""``dfer-calibrate fit``: from held-out answers to a calibration in the bundle."""

from __future__ import annotations

import argparse
import sys

from calibration import evaluate
from calibration.apply import FILE, METHODS
from calibration.commands import heldout
from engine.bundle import Bundle, add_file
from engine.console import Exit


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``dfer-calibrate fit``."""
    heldout.add_arguments(parser)
    parser.add_argument("--method", choices=("auto", *METHODS), default="auto", help="auto: lowest cross-fitted NLL")
    parser.add_argument(
        "--risk", type=float, default=0.1, help="share of errors allowed among answers kept (default 0.1)"
    )
    parser.add_argument(
        "--certainty", type=float, help="for example 0.95: the risk's upper bound must hold, not its estimate"
    )
    parser.add_argument("--dry-run", action="store_true", help="print the calibration, change nothing")


def run(args: argparse.Namespace) -> int:
    """Fit, and store what was fitted unless told not to."""
    bundle = Bundle.open(args.bundle)
    rows = heldout.read(args, bundle)
    wanted = METHODS if args.method == "auto" else tuple(dict.fromkeys(("none", args.method)))
    judged = heldout.judge(args, rows, wanted)
    best = min(judged, key=lambda each: each.figures["nll"]["value"]) if args.method == "auto" else judged[-1]
    made = evaluate.make(
        rows, bundle.spec.labels, best, judged[0], args.risk, args.certainty, folds=args.folds, seed=args.seed
    )
    if args.json or args.dry_run:
        print(made.to_json().decode(), end="")
    else:
        heldout.print_table(judged, rows)
    if not args.dry_run:
        add_file(bundle, FILE, made.to_json())
        print(f"{bundle.path}: {best.method}, abstaining below {made.threshold:.3f}", file=sys.stderr)
    return Exit.DONE
