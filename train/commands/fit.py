"""``dfer-train fit``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from engine.console import Exit
from train.commands.arguments import add_data_arguments, add_device_argument, add_set_argument
from train.config import load_config, merge, read_toml
from train.recipes import recipe
from train.settings import RunConfig
from train.settings_help import settings_text


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments; the help ends with every setting."""
    parser.epilog = f"{parser.epilog}\n\n{settings_text()}"
    parser.add_argument("--model", help="tg-dfer, dk-clip or clip-guided: its paper's recipe is the base")
    parser.add_argument("--config", type=Path, help="TOML file of settings")
    add_data_arguments(parser)
    parser.add_argument("--fold", type=int, help="fold, from 1 (data.fold)")
    parser.add_argument("--encoder", help="vit-b-32, vit-b-16, compact or tiny (model.encoder)")
    parser.add_argument("--weights", help="CLIP weights: Hugging Face id or folder, .safetensors, .pt (model.weights)")
    parser.add_argument("--select", help="best-on-validation, last, or paper-protocol (loop.select)")
    add_set_argument(parser, "any setting below")
    parser.add_argument(
        "--from", dest="start_from", type=Path, metavar="BUNDLE", help="begin with the weights of a bundle or run"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the run")
    parser.add_argument("--resume", action="store_true", help="go on with the run in --out")
    add_device_argument(parser)
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def run(arguments: argparse.Namespace) -> int:
    """Train and print where the weights are; a run that is stopped is saved."""
    from train.training.distributed import processes
    from train.training.fit import fit

    config = fit_config(arguments)
    with processes(arguments.device) as mine:
        result = fit(config, arguments.out, mine, arguments.resume, arguments.start_from, arguments.quiet)
        if result.interrupted:
            if mine.first:
                print(f"interrupted and saved: go on with --resume --out {result.out}", file=sys.stderr)
            return Exit.INTERRUPTED
        if mine.first:
            print(result.out / result.selected)
    return Exit.DONE


def fit_config(arguments: argparse.Namespace) -> RunConfig:
    """The configuration of the command's arguments."""
    from train.training.transfer import bundle_model

    flags = [
        f"{key}={value}"
        for key, value in (
            ("data.source", arguments.source),
            ("data.root", arguments.data),
            ("data.fold", arguments.fold),
            ("model.encoder", arguments.encoder),
            ("model.weights", arguments.weights),
            ("loop.select", arguments.select),
        )
        if value is not None
    ]
    # What a bundle says of its model stands below the file and the flags.
    known = bundle_model(arguments.start_from) if arguments.start_from else {}
    named = (read_toml(arguments.config) if arguments.config else {}).get("model", {})
    name = arguments.model or named.get("name") or known.get("name") or "tg-dfer"
    pretrained = bool(arguments.weights or named.get("weights"))
    base = merge(recipe(name, pretrained), {"model": known} if known.get("name") == name else {})
    return load_config(arguments.config, [*flags, *arguments.set], base)
