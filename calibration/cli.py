"""``dfer-calibrate fit | report | apply | remove``: make a bundle's scores mean what they say."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from calibration import data, evaluate, report
from calibration.apply import METHODS, Calibration, CalibrationError, load
from engine.bundle import Bundle, BundleError, add_file, write_bundle
from engine.console import guarded

FILE = "calibration.json"


def build_parser() -> argparse.ArgumentParser:
    """The command's parser."""
    parser = argparse.ArgumentParser(prog="dfer-calibrate", description=__doc__, allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    fit = commands.add_parser("fit", help="fit to held-out logits and store the calibration in the bundle")
    fit.add_argument("bundle", type=Path)
    _add_rows(fit)
    fit.add_argument("--method", choices=("auto", *METHODS), default="auto", help="auto: lowest cross-fitted NLL")
    fit.add_argument("--risk", type=float, default=0.1, help="share of errors allowed among answers kept (default 0.1)")
    fit.add_argument(
        "--certainty", type=float, help="for example 0.95: the risk's upper bound must hold, not its estimate"
    )
    fit.add_argument("--dry-run", action="store_true", help="print the calibration, change nothing")
    judge = commands.add_parser("report", help="measure without changing the bundle, with pictures")
    judge.add_argument("bundle", type=Path)
    _add_rows(judge)
    judge.add_argument("--out", type=Path, help="folder for reliability.png, risk_coverage.png and report.json")
    put = commands.add_parser("apply", help="store a calibration.json made elsewhere for the same classes")
    put.add_argument("bundle", type=Path)
    put.add_argument("file", type=Path)
    take = commands.add_parser("remove", help="take the calibration out again: plain softmax, no abstention")
    take.add_argument("bundle", type=Path)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command: 0, or 2 with one line where something cannot be used."""
    args = build_parser().parse_args(argv)
    return guarded("dfer-calibrate", lambda: _run(args))


def _run(args: argparse.Namespace) -> int:
    try:
        bundle = Bundle.open(args.bundle)
        if args.command == "remove":
            return _remove(bundle)
        if args.command == "apply":
            return _apply(bundle, args.file)
        return _fit(bundle, args) if args.command == "fit" else _report(bundle, args)
    except (CalibrationError, BundleError) as error:
        print(f"dfer-calibrate: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def _add_rows(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("rows", type=Path, help="NPZ of logits, labels, groups; or JSON lines of `dfer-stream score`")
    parser.add_argument("--truth", type=Path, help="CSV with the truth of JSON lines: column 'truth' or votes by class")
    parser.add_argument("--key", default="name", help="its column of file names (default: name)")
    parser.add_argument("--group", default="", help="its column of groups that stay together, for example twin_cluster")
    parser.add_argument("--where", default="", help="only rows of it with COLUMN=VALUE, for example first_of_cluster=1")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=500, help="bootstrap resamples (default 500)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")


def _rows(args: argparse.Namespace, bundle: Bundle) -> data.Heldout:
    table = data.TruthTable(args.truth, args.key, args.group, args.where) if args.truth else None
    return data.read(args.rows, bundle.spec.labels, table)


def _judge(args: argparse.Namespace, rows: data.Heldout, methods: Sequence[str]) -> list[evaluate.Judged]:
    if args.folds < 2 or args.rounds < 20:
        raise CalibrationError("--folds must be at least 2 and --rounds at least 20")
    return [evaluate.judge(method, rows, args.folds, args.seed, args.rounds) for method in methods]


def _fit(bundle: Bundle, args: argparse.Namespace) -> int:
    rows = _rows(args, bundle)
    wanted = METHODS if args.method == "auto" else tuple(dict.fromkeys(("none", args.method)))
    judged = _judge(args, rows, wanted)
    best = min(judged, key=lambda each: each.figures["nll"]["value"]) if args.method == "auto" else judged[-1]
    made = evaluate.make(
        rows, bundle.spec.labels, best, judged[0], args.risk, args.certainty, folds=args.folds, seed=args.seed
    )
    if args.json or args.dry_run:
        print(made.to_json().decode(), end="")
    else:
        _print_table(judged, rows)
    if not args.dry_run:
        add_file(bundle, FILE, made.to_json())
        print(f"{bundle.path}: {best.method}, abstaining below {made.threshold:.3f}", file=sys.stderr)
    return 0


def _report(bundle: Bundle, args: argparse.Namespace) -> int:
    rows = _rows(args, bundle)
    judged = _judge(args, rows, METHODS)
    stored = load(bundle.calibration(), bundle.spec.labels)
    if args.out is not None:
        for path in report.draw(args.out, rows, judged, stored.threshold):
            print(path, file=sys.stderr)
    figures = {each.method: each.figures for each in judged}
    if args.json:
        print(json.dumps({"rows": len(rows.labels), "skipped": dict(rows.skipped), "methods": figures}, indent=2))
    else:
        _print_table(judged, rows)
    return 0


def _apply(bundle: Bundle, file: Path) -> int:
    try:
        values: Any = json.loads(file.read_bytes())
    except ValueError as error:
        raise CalibrationError(f"{file} is not JSON: {error}") from error
    if not isinstance(values, dict):
        raise CalibrationError(f"{file} is not a calibration")
    add_file(bundle, FILE, Calibration.from_dict(values, bundle.spec.labels).to_json())
    return 0


def _remove(bundle: Bundle) -> int:
    if FILE not in bundle.files:
        print(f"{bundle.path} has no calibration", file=sys.stderr)
        return 0
    files: dict[str, bytes | Path] = {name: bundle.path / name for name in bundle.files if name != FILE}
    write_bundle(bundle.path, bundle.spec, files, bundle.provenance, bundle.metrics)
    return 0


def _print_table(judged: list[evaluate.Judged], rows: data.Heldout) -> None:
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


if __name__ == "__main__":
    sys.exit(main())
