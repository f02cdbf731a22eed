"""``dfer-calibrate apply``: a calibration made elsewhere into a bundle of the same classes."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from calibration.apply import FILE, Calibration
from calibration.settings import CalibrationError
from engine.bundle import Bundle, add_file
from engine.console import Exit


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``dfer-calibrate apply``."""
    parser.add_argument("bundle", type=Path)
    parser.add_argument("file", type=Path)


def run(args: argparse.Namespace) -> int:
    """Check the calibration against the bundle's classes and store it."""
    bundle = Bundle.open(args.bundle)
    try:
        values: Any = json.loads(args.file.read_bytes())
    except ValueError as error:
        raise CalibrationError(f"{args.file} is not JSON: {error}") from error
    if not isinstance(values, dict):
        raise CalibrationError(f"{args.file} is not a calibration")
    add_file(bundle, FILE, Calibration.from_dict(values, bundle.spec.labels).to_json())
    return Exit.DONE
