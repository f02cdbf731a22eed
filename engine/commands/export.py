"""``dfer-engine export``: a bundle's graphs for other runtimes."""

from __future__ import annotations

import argparse
from pathlib import Path

from engine.commands.report import add_json, show


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``dfer-engine export``."""
    parser.add_argument("bundle", type=Path, help="the bundle's directory")
    parser.add_argument("out", type=Path, help="a new directory for encoder.onnx and head.onnx")
    parser.add_argument("--precision", choices=("fp32", "fp16"), default="fp16")
    parser.add_argument(
        "--batch",
        type=_batch,
        default=(1, 8),
        metavar="N|LOW-HIGH",
        help="fixed, for runtimes that want static shapes, or the profile of a dynamic one (default 1-8)",
    )
    parser.add_argument(
        "--opset",
        type=int,
        choices=(18, 23),
        help="18 for TensorRT from 10.3 on, 23 for newer runtimes (default: the bundle's)",
    )
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Rewrite and prove."""
    from engine.export.rewrite import rewrite  # needs onnx, which only the engine extra brings

    rewritten = rewrite(args.bundle, args.out, args.precision, args.batch, args.opset)
    return show(args, rewritten.to_dict(), rewritten.lines())


def _batch(text: str) -> int | tuple[int, int]:
    low, dash, high = text.partition("-")
    if not low.isdecimal() or (dash and not high.isdecimal()) or not 1 <= int(low) <= int(high or low):
        raise argparse.ArgumentTypeError(f"a batch such as 1, or a profile such as 1-8, not {text!r}")
    return (int(low), int(high)) if dash else int(low)
