"""``dfer-calibrate fit``: from held-out answers to a calibration in the bundle."""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass, replace
from typing import Literal

from calibration import evaluate
from calibration.apply import FILE, METHODS, Calibration
from calibration.commands import heldout
from calibration.data import Heldout
from engine.bundle import Bundle, add_file
from engine.console import Exit


@dataclass(frozen=True)
class FitSettings(heldout.MeasureSettings):
    """What is fitted, and how much it may err.

    Attributes:
        method: What is fitted; `auto` takes the lowest cross-fitted NLL.
        risk: Share of errors allowed among answers kept.
        certainty: For example 0.95: the risk's upper bound must hold, not its estimate.
    """

    method: Literal["auto", "none", "temperature", "classwise", "vector"] = "auto"
    risk: float = 0.1
    certainty: float | None = None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``dfer-calibrate fit``."""
    heldout.add_arguments(parser, FitSettings)
    parser.add_argument("--dry-run", action="store_true", help="print the calibration, change nothing")


def run(args: argparse.Namespace) -> int:
    """Fit, and store what was fitted unless told not to."""
    settings = heldout.read_settings(args, FitSettings)
    bundle = Bundle.open(args.bundle)
    rows = heldout.read(args, bundle)
    quiet = args.json or args.dry_run
    made = fit(rows, bundle.spec.labels, settings, "" if quiet else "window")
    if rows.of_now is not None and bundle.spec.has_now:
        made = replace(made, now=fit(rows.of_now, bundle.spec.labels, settings, "" if quiet else "now"))
    if quiet:
        print(made.to_json().decode(), end="")
    if not args.dry_run:
        add_file(bundle, FILE, made.to_json())
        now = "" if made.now is None else f"; of single samples: {made.now.method}, {made.now.threshold:.3f}"
        print(f"{bundle.path}: {made.method}, abstaining below {made.threshold:.3f}{now}", file=sys.stderr)
    return Exit.DONE


def fit(rows: Heldout, labels: tuple[str, ...], settings: FitSettings, title: str) -> Calibration:
    """Compare the methods on held-out rows and fit the best one; prints their figures under a title, if it has one."""
    method = settings.method
    judged = heldout.judge(settings, rows, METHODS if method == "auto" else tuple(dict.fromkeys(("none", method))))
    best = min(judged, key=lambda each: each.figures["nll"]["value"]) if method == "auto" else judged[-1]
    if title:
        print(f"{title}:", end=" ")
        heldout.print_table(judged, rows)
    kept = {"folds": settings.folds, "seed": settings.seed}
    return evaluate.make(rows, labels, best, judged[0], settings.risk, settings.certainty, **kept)
