"""``dfer-stream fleet``: what Prometheus and Grafana need to see many daemons together, as files."""

from __future__ import annotations

import argparse
import json
import re
from importlib import resources
from pathlib import Path

from engine.console import Exit
from engine.errors import DferError
from engine.files import write_text

FILES = ("prometheus.yml", "dferstream-alerts.yml", "dferstream-board.json",
         "grafana-datasource.yml", "grafana-dashboards.yml")  # fmt: skip
"""What is written, in the order in which it is used."""

_PORT = 9577
_TARGET = re.compile(
    r"(?P<host>\[[0-9a-fA-F:.]+\]|[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)(?::(?P<port>[0-9]{1,5}))?"
)
_ALERTING = """\
alerting:
  alertmanagers:
    - static_configs:
        - targets: {}
"""


class FleetError(DferError):
    """A fleet that cannot be described."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``dfer-stream fleet``."""
    parser.add_argument("out", type=Path, help="folder to write into; files of these names there are replaced")
    parser.add_argument(
        "machine",
        nargs="*",
        default=["127.0.0.1"],
        help=f"HOST[:PORT] of each `dfer-stream bridge prometheus` (default 127.0.0.1:{_PORT})",
    )
    parser.add_argument("--interval", type=int, default=5, metavar="S", help="seconds between scrapes (%(default)s)")
    parser.add_argument("--alertmanager", metavar="HOST:PORT", help="where Prometheus sends alerts")
    parser.add_argument(
        "--prometheus", metavar="URL", default="http://127.0.0.1:9090", help="where Grafana finds it (%(default)s)"
    )


def run(args: argparse.Namespace) -> int:
    """Write the files and say how they are used."""
    for name, text in fleet_files(args.out, args.machine, args.interval, args.alertmanager, args.prometheus).items():
        write_text(args.out / name, text)
    print(f"""\
{args.out}: {", ".join(FILES)}
each machine:  dfer-stream bridge prometheus --directory /run/dferstream   (or dferstream-prometheus.service)
here:          prometheus --config.file={args.out / FILES[0]}
Grafana:       import {args.out / FILES[2]}, or provision it with the two grafana-*.yml""")
    return Exit.DONE


def fleet_files(
    folder: Path, machines: list[str], interval_s: int, alertmanager: str | None, prometheus: str
) -> dict[str, str]:
    """The files by name.

    Args:
        folder: Where they will stand; Grafana's provisioning names it.
        machines: ``HOST`` or ``HOST:PORT`` of each machine's bridge.
        interval_s: Between two scrapes, s: at least 1.
        alertmanager: ``HOST:PORT``.
        prometheus: Where Grafana asks.

    Raises:
        FleetError: If an address is none or named twice, or the interval cannot be.
    """
    if not 1 <= interval_s <= 60:
        # Beyond, a rule's 30 s and the five minutes after which a sample is stale no longer fit.
        raise FleetError(f"an interval is 1 to 60 s, not {interval_s}", "give --interval 5")
    if re.fullmatch(r"https?://[^\s\"'\\@]+", prometheus) is None:
        raise FleetError(f"{prometheus!r} is no address of Prometheus", "as in --prometheus http://127.0.0.1:9090")
    targets = [_target(machine, _PORT) for machine in machines]
    for target in targets:
        if targets.count(target) > 1:
            raise FleetError(f"{target} is named twice", "name each machine once")
    filled = {
        "@INTERVAL@": f"{interval_s}s",
        "@TARGETS@": json.dumps(targets),
        "@FOLDER@": json.dumps(str(folder.absolute())),
        "@PROMETHEUS@": json.dumps(prometheus),
    }
    texts = {}
    for name in FILES:
        text = resources.files("stream.apps.fleet").joinpath("files", name).read_text("utf-8")
        for mark, value in filled.items():
            text = text.replace(mark, value)
        texts[name] = text
    if alertmanager is not None:
        texts[FILES[0]] += _ALERTING.format(json.dumps([_target(alertmanager, 9093)]))
    return texts


def _target(text: str, port: int) -> str:
    match = _TARGET.fullmatch(text)
    if match is None or not 0 < int(match["port"] or port) <= 65535:
        raise FleetError(f"{text!r} is no HOST or HOST:PORT", f"as in 10.0.0.7, box1:{port} or [fd00::7]:{port}")
    return f"{match['host']}:{match['port'] or port}"
