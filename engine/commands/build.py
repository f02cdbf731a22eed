"""``dfer-engine build``: a bundle to an engine directory that was proven here."""

from __future__ import annotations

import argparse
from dataclasses import fields
from pathlib import Path

from engine.arguments import count
from engine.build.build import build
from engine.build.options import BuildOptions
from engine.commands.flags import add_backend, add_bounds, bounds
from engine.commands.report import add_json, parity_line, show
from engine.settings import attribute_docs


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``dfer-engine build``."""
    parser.add_argument("bundle", type=Path, help="the bundle's directory")
    parser.add_argument("out", type=Path, help="where the engine directory will stand")
    add_backend(parser)
    add_bounds(parser)
    default, docs = BuildOptions(), attribute_docs(BuildOptions)
    parser.add_argument("--crops", type=Path, help=docs["crops"])
    for name in ("workspace_mb", "faces"):
        parser.add_argument(
            _flag(name), type=count(), default=getattr(default, name), help=f"{docs[name]} (default %(default)s)"
        )
    parser.add_argument("--timing-cache", type=Path, help=docs["timing_cache"])
    for name in ("hardware_compatible", "version_compatible"):
        parser.add_argument(_flag(name), action="store_true", help=docs[name])
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Build, saying what is being done."""
    named = {field.name: getattr(args, field.name) for field in fields(BuildOptions) if field.name != "bounds"}
    options = BuildOptions(bounds=bounds(args), **named)
    say = (lambda _: None) if args.json else (lambda line: print(f"  {line}", flush=True))
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


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")
