"""``dfer-calibrate remove``: a bundle without its calibration."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from calibration.apply import FILE
from engine.bundle import Bundle, write_bundle
from engine.console import Exit


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``dfer-calibrate remove``."""
    parser.add_argument("bundle", type=Path)


def run(args: argparse.Namespace) -> int:
    """Write the bundle anew without it."""
    bundle = Bundle.open(args.bundle)
    if FILE not in bundle.files:
        print(f"{bundle.path} has no calibration", file=sys.stderr)
        return Exit.DONE
    files: dict[str, bytes | Path] = {name: bundle.path / name for name in bundle.files if name != FILE}
    write_bundle(bundle.path, bundle.spec, files, bundle.provenance, bundle.metrics)
    return Exit.DONE
