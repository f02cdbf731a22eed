"""``dfer-stream bridge``: carry the messages on to another system."""

from __future__ import annotations

import argparse
import importlib

from stream.apps.bridge.feed import add_feed_arguments

BRIDGES = {
    "mqtt": ("stream.apps.bridge.mqtt", "to an MQTT 5 broker, with Home Assistant discovery"),
    "lsl": ("stream.apps.bridge.lsl", "to Lab Streaming Layer: an outlet for each face, and markers"),
    "ros2": ("stream.apps.bridge.ros2.node", "to ROS 2: faces and expressions as REP-155 has them, and diagnostics"),
    "prometheus": ("stream.apps.bridge.prometheus", "as an endpoint that Prometheus scrapes"),
}
"""Module and meaning of each."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``dfer-stream bridge``: one command for each system."""
    bridges = parser.add_subparsers(dest="bridge", required=True, metavar="SYSTEM")
    for name, (module, meaning) in BRIDGES.items():
        sub = bridges.add_parser(name, help=meaning, description=f"Carry messages on {meaning}.", allow_abbrev=False)
        add_feed_arguments(sub)
        importlib.import_module(module).add_arguments(sub)


def run(args: argparse.Namespace) -> int:
    """Run the bridge that was named until it is stopped."""
    code: int = importlib.import_module(BRIDGES[args.bridge][0]).run(args)
    return code
