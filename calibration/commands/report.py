"""``dfer-calibrate report``: how good every method is on held-out answers, the bundle untouched."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from calibration.apply import METHODS, load
from calibration.commands import heldout
from calibration.report import draw
from engine.bundle import Bundle
from engine.console import Exit
from engine.files import write_text


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``dfer-calibrate report``."""
    heldout.add_arguments(parser, heldout.MeasureSettings)
    parser.add_argument("--out", type=Path, help="folder for reliability.png, risk_coverage.png and report.json")


def run(args: argparse.Namespace) -> int:
    """Measure, draw where asked to, print."""
    settings = heldout.read_settings(args, heldout.MeasureSettings)
    bundle = Bundle.open(args.bundle)
    rows = heldout.read(args, bundle)
    judged = heldout.judge(settings, rows, METHODS)
    stored = load(bundle.calibration(), bundle.spec.labels)
    figures = {each.method: each.figures for each in judged}
    text = json.dumps({"rows": len(rows.labels), "skipped": dict(rows.skipped), "methods": figures}, indent=2)
    if args.out is not None:
        for path in draw(args.out, rows, judged, stored.threshold):
            print(path, file=sys.stderr)
        write_text(args.out / "report.json", text + "\n")
    if args.json:
        print(text)
    else:
        heldout.print_table(judged, rows)
    return Exit.DONE
