"""``dfer-engine build``: a bundle to an engine directory that was proven here."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from engine.build.build import build
from engine.build.options import BuildOptions
from engine.commands.flags import add_backend
from engine.commands.report import add_json, parity_line, show
from engine.console import stoppable
from engine.settings import add_flags, flags_of, load


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``dfer-engine build``."""
    parser.add_argument("bundle", type=Path, help="the bundle's directory")
    parser.add_argument("out", type=Path, help="where the engine directory will stand")
    add_backend(parser)
    add_flags(parser, BuildOptions, {"bounds.max_delta": "--max-delta", "bounds.top1": "--top1"}, switches=True)
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Build, saying what is being done."""
    flags = flags_of(args, BuildOptions)
    options = load(BuildOptions, environ=os.environ, flags=flags, prefix="DFER_ENGINE_").settings
    say = (lambda _: None) if args.json else (lambda line: print(f"  {line}", flush=True))
    with stoppable(lambda: "stopped; nothing was left half-written"):
        built = build(args.bundle, args.out, args.backend, options, say)
    engine, parity = built.engine, built.parity.to_dict()
    values = {
        "path": str(engine.path),
        "backend": engine.backend,
        "precision": engine.precision,
        "parity": parity,
        "seconds": round(built.seconds, 1),
        "notes": list(built.notes),
    }
    lines = [
        f"{engine.path}: {engine.spec.name} for {engine.backend} in {engine.precision}, {built.seconds:.1f} s",
        parity_line(parity),
        f"run it with: dfer-stream run --engine {engine.path}",
    ]
    return show(args, values, lines)
