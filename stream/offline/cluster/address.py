"""Where the cluster is, and whether it answers: asked before Ray is, whose own patience is minutes."""

from __future__ import annotations

import os
import platform
import re
import socket
from pathlib import Path
from typing import Any

from stream.offline import ScoreError

AUTO = "auto"
_PATIENCE_S = 3.0
_HTTP2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + b"\x04" + bytes(5)
"""With which a gRPC client begins (RFC 9113, 3.4), then an empty SETTINGS frame; a server answers with its own."""
_SETTINGS_FRAME = 4
_START = "ray start --head starts one here, ray start --address=HOST:PORT joins one"


def find_cluster(address: str) -> str | None:
    """The address of a cluster that answers.

    Args:
        address: ``HOST:PORT`` of its head, or ``auto``: the one that this machine is part of.

    Returns:
        ``HOST:PORT``; None where ``auto`` finds none, and what is to be done is done on this machine alone.

    Raises:
        ScoreError: If nothing answers there, or something that is no cluster.
    """
    if address == AUTO:
        # As Ray itself looks: its variable, then what `ray start` left.
        told = os.environ.get("RAY_ADDRESS") or _last_started()
        return told if told and what_is_wrong(told) is None else None
    if (problem := what_is_wrong(address)) is not None:
        raise ScoreError(
            f"no Ray cluster at {address}: {problem}", f"{_START}; without --ray this machine does it alone"
        )
    return address


def connect(address: str) -> Any:
    """Join a cluster that answers as a driver; gives the module ``ray``.

    Raises:
        ScoreError: If it does not take this driver: another version, or a machine that is no node of it.
        ModuleNotFoundError: Without Ray.
    """
    host, _, port = address.rpartition(":")
    loopback = host in ("localhost", "127.0.0.1", "::1")
    # Ray takes the loopback for this machine's outer address; a cluster that only the loopback has is not there.
    if loopback and what_is_wrong(f"{_outer_address()}:{port}") is not None:
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Of a node that died it would print pages of its log; what matters of it, this driver says itself.
    os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", ".*")
    import ray

    try:
        ray.init(address=address, logging_level="CRITICAL", log_to_driver=False)
    except (RuntimeError, ConnectionError, ValueError, OSError) as error:
        words = " ".join(str(error).split())
        if "ersion mismatch" in words:
            own = f"Ray {ray.__version__}, Python {platform.python_version()}"
            cluster = re.search(r"started with: Ray: (\S+) Python: (\S+)", words)
            theirs = f"Ray {cluster[1]}, Python {cluster[2]}" if cluster else "others"
            raise ScoreError(
                f"the cluster at {address} has {theirs}, this machine {own}",
                "install the same on all of them: pip install 'ray==VERSION' under the same Python",
            ) from error
        raise ScoreError(
            f"the cluster at {address} does not take this machine: {words[:200]}",
            f"start it on one of its nodes; {_START}",
        ) from error
    return ray


def _last_started() -> str:
    base = Path(os.environ.get("RAY_TMPDIR") or "/tmp")
    try:
        return (base / "ray" / "ray_current_cluster").read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def what_is_wrong(address: str) -> str | None:
    """What is wrong with an address; None where something speaks as the head of a cluster does."""
    host, _, port = address.rpartition(":")
    if "://" in address or not host or not port.isdigit():
        return "not HOST:PORT, such as 10.0.0.1:6379"
    try:
        with socket.create_connection((host.strip("[]"), int(port)), _PATIENCE_S) as connection:
            connection.sendall(_HTTP2_PREFACE)
            head = connection.recv(9)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        return reason[:1].lower() + reason[1:]
    return None if head[3:4] == bytes([_SETTINGS_FRAME]) else "what answers there is none"


def _outer_address() -> str:
    """The address of this machine that others see; no packet is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
            return str(probe.getsockname()[0])
        except OSError:
            return "127.0.0.1"
