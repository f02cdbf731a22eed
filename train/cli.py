"""``dfer-train``: prepare, fit, evaluate, table, inspect, export and synth on one command line."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from engine.spec import SpecError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``dfer-train``.

    Args:
        arguments: Command line without the program's name; `sys.argv`'s if not given.

    Returns:
        Exit status: 0 done, 1 an error that is said in one line, 130 interrupted.
    """
    options = _parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        if not _ours(error):
            raise
        print(f"dfer-train: {error}", file=sys.stderr)
        return 1


def _ours(error: Exception) -> bool:
    """Whether an error is one of this project's, meant for the user, and no bug."""
    return isinstance(error, SpecError) or type(error).__module__.partition(".")[0] in ("train", "engine", "stream")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("dfer-train", description="Train, evaluate and export expression models.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    fit = commands.add_parser("fit", help="train a model")
    fit.add_argument("--model", default=None, help="tg-dfer, dk-clip or clip-guided: its paper's recipe is the base")
    fit.add_argument("--config", type=Path, help="TOML file of settings")
    fit.add_argument("--source", help="dfew, ferv39k, mafw, clips or synthetic (data.source)")
    fit.add_argument("--data", help="the data set's folder or CSV file (data.root)")
    fit.add_argument("--fold", type=int, help="fold, from 1 (data.fold)")
    fit.add_argument("--encoder", help="vit-b-32, vit-b-16, compact or tiny (model.encoder)")
    fit.add_argument("--weights", help="CLIP weights: Hugging Face id or folder, .safetensors, .pt (model.weights)")
    fit.add_argument("--select", help="best-on-validation, last, or paper-protocol (loop.select)")
    fit.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="any setting, for example optim.lr=1e-4")
    fit.add_argument("--from", dest="start_from", type=Path, metavar="BUNDLE", help="begin with a bundle's or a run's weights")
    fit.add_argument("--out", type=Path, required=True, help="folder of the run")
    fit.add_argument("--resume", action="store_true", help="go on with the run in --out")
    fit.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    fit.add_argument("--quiet", action="store_true", help="no progress bar")
    fit.set_defaults(run=_fit)
    return parser


def _fit(options: argparse.Namespace) -> int:
    from train.build import bundle_model
    from train.config import load_config, merge, read_toml
    from train.distributed import processes
    from train.fit import fit
    from train.recipes import recipe

    flags = [
        f"{key}={value}"
        for key, value in (
            ("data.source", options.source),
            ("data.root", options.data),
            ("data.fold", options.fold),
            ("model.encoder", options.encoder),
            ("model.weights", options.weights),
            ("loop.select", options.select),
        )
        if value is not None
    ]
    # What a bundle says of its model stands below the file and the flags.
    known = bundle_model(options.start_from) if options.start_from else {}
    named = (read_toml(options.config) if options.config else {}).get("model", {})
    name = options.model or named.get("name") or known.get("name") or "tg-dfer"
    pretrained = bool(options.weights or named.get("weights"))
    base = merge(recipe(name, pretrained), {"model": known} if known.get("name") == name else {})
    config = load_config(options.config, [*flags, *options.set], base)
    with processes(options.device) as mine:
        result = fit(config, options.out, mine, options.resume, options.start_from, options.quiet)
        if mine.first:
            if result.interrupted:
                print(f"interrupted and saved: go on with --resume --out {result.out}", file=sys.stderr)
                return 130
            print(result.out / result.selected)
    return 0


if __name__ == "__main__":
    sys.exit(main())
