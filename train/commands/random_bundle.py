"""``dfer-train random-bundle``."""

from __future__ import annotations

import argparse

from engine.console import Exit
from train.commands.arguments import add_model_arguments


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_model_arguments(parser)
    parser.add_argument("out", metavar="OUT", help="the bundle's directory")
    parser.add_argument("--seed", type=int, default=0, help="equal seeds give equal bundles")
    parser.add_argument("--outlier-heavy", action="store_true", help="activations with a trained CLIP's outliers")


def run(arguments: argparse.Namespace) -> int:
    """Write the bundle and say what it is."""
    from train.bundle.random_bundle import random_bundle
    from train.models.registry import configure

    options = configure(arguments.model, assignments=arguments.set)
    bundle = random_bundle(
        arguments.model, arguments.encoder, arguments.out, arguments.seed, options, arguments.outlier_heavy
    )
    print(f"{bundle.path}: {bundle.spec.name}, random weights, sha256 {bundle.sha256[:12]}")
    return Exit.DONE
