"""``dfer-stream devices``: the cameras of this machine."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict

from engine.console import Exit
from stream.camera.devices import describe_devices, list_devices


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``dfer-stream devices``."""
    parser.add_argument("--json", action="store_true", help="print a JSON list instead of text")


def run(args: argparse.Namespace) -> int:
    """Print the cameras; no camera is refused, with an empty list where JSON was asked for."""
    devices = list_devices()
    if args.json:
        print(json.dumps([asdict(device) for device in devices], indent=2))
        return Exit.DONE if devices else Exit.REFUSED
    print(describe_devices(devices))
    return Exit.DONE
