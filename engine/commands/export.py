"""``dfer-engine export``: a bundle's graphs for other runtimes, or a model repository for Triton."""

from __future__ import annotations

import argparse
from pathlib import Path

from engine.commands.report import add_json, show
from engine.console import stoppable
from engine.errors import DferError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``dfer-engine export``."""
    parser.add_argument("bundle", type=Path, help="the bundle's directory; with --triton an engine directory too")
    parser.add_argument("out", type=Path, help="a new directory for encoder.onnx and head.onnx, or for the repository")
    parser.add_argument("--precision", choices=("fp32", "fp16"), help="default fp16")
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
    parser.add_argument(
        "--triton",
        action="store_true",
        help="write a model repository of NVIDIA's Triton; the graphs or plans stay as they are",
    )
    parser.add_argument("--name", help="with --triton: what the two models' names begin with (default: the model's)")
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Rewrite and prove, or write a repository."""
    if args.triton:
        return _repository(args)
    if args.name is not None:
        raise DferError("--name names the models of a repository", "add --triton")
    from engine.export.rewrite import rewrite  # needs onnx, which only the engine extra brings

    with stoppable(lambda: "stopped; nothing was left half-written"):
        rewritten = rewrite(args.bundle, args.out, args.precision or "fp16", args.batch, args.opset)
    return show(args, rewritten.to_dict(), rewritten.lines())


def _repository(args: argparse.Namespace) -> int:
    from engine.export.triton import write_repository

    if args.precision is not None or args.opset is not None:
        raise DferError(
            "--triton copies graphs or plans as they are; --precision and --opset change them",
            "build an engine directory in that precision first: dfer-engine build BUNDLE ENGINE --precision …",
        )
    most = args.batch if isinstance(args.batch, int) else args.batch[1]
    with stoppable(lambda: "stopped; nothing was left half-written"):
        repository = write_repository(args.bundle, args.out, most, args.name)
    return show(args, repository.to_dict(), repository.lines())


def _batch(text: str) -> int | tuple[int, int]:
    low, dash, high = text.partition("-")
    if not low.isdecimal() or (dash and not high.isdecimal()) or not 1 <= int(low) <= int(high or low):
        raise argparse.ArgumentTypeError(f"a batch such as 1, or a profile such as 1-8, not {text!r}")
    return (int(low), int(high)) if dash else int(low)
