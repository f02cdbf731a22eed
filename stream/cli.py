"""``dfer-stream``: the daemon and what helps to run it."""

from __future__ import annotations

import argparse
import difflib
import importlib
import re
import sys
from collections.abc import Callable, Sequence

from engine.console import guarded

COMMANDS: dict[str, tuple[str, str, str]] = {
    "run": ("stream.commands.run", "read a camera or file, publish scores", "dfer-stream run --source demo://"),
    "score": ("stream.commands.score", "score videos, images and zips of faces to rows", "dfer-stream score clips/"),
    "listen": ("stream.commands.listen", "show what a subscriber receives", "dfer-stream listen"),
    "capture": (
        "stream.commands.capture",
        "keep aligned crops of your own face, after asking",
        "dfer-stream capture me.npz",
    ),
    "devices": ("stream.camera.devices", "list cameras", "dfer-stream devices"),
    "doctor": ("stream.commands.doctor", "say what is missing on this machine", "dfer-stream doctor"),
    "bench": ("stream.commands.bench", "measure speed, latency and memory", "dfer-stream bench --json"),
    "config": ("stream.commands.config", "print or check settings", "dfer-stream config show"),
    "keys": ("stream.publish.keys", "make CURVE keys for publishing beyond this machine", "dfer-stream keys robot1"),
}
"""Command → (module with ``add_arguments`` and ``run``, what it does, an example)."""


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of ``dfer-stream``.

    Args:
        argv: Arguments; those of the process if not given.

    Returns:
        The exit code.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    parser = argparse.ArgumentParser(
        prog="dfer-stream",
        description="Real-time facial expression scores from a camera, published over ZeroMQ.",
        epilog="examples:\n" + "\n".join(f"  {example}" for _, _, example in COMMANDS.values()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    # Only the command that is meant is imported: `listen` must not wait for a model runtime.
    wanted = next((argument for argument in arguments if argument in COMMANDS), None)
    subparsers: dict[str, argparse.ArgumentParser] = {}
    runners: dict[str, Callable[[argparse.Namespace], int]] = {}
    for name, (module, summary, example) in COMMANDS.items():
        sub = commands.add_parser(
            name,
            help=summary,
            description=summary.capitalize() + ".",
            epilog=f"example: {example}",
            allow_abbrev=False,
        )
        if name == wanted:
            loaded = importlib.import_module(module)
            loaded.add_arguments(sub)
            runners[name] = loaded.run
        subparsers[name] = sub
    args, unknown = parser.parse_known_args(arguments)
    if unknown:
        sub = subparsers[args.command]
        print(f"{sub.prog}: unknown argument {unknown[0]}{_nearest(unknown[0], sub)}", file=sys.stderr)
        return 2
    return guarded(f"{parser.prog} {args.command}", lambda: runners[args.command](args), 2)


def _nearest(argument: str, parser: argparse.ArgumentParser) -> str:
    """The flag that was probably meant."""
    flags = re.findall(r"--[a-z][\w.-]*", parser.format_help())
    near = difflib.get_close_matches(argument.partition("=")[0], flags, 1, 0.5)
    return f"; did you mean {near[0]}?" if near else f"; {parser.prog} --help lists what there is"


if __name__ == "__main__":
    sys.exit(main())
