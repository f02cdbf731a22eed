"""What a daemon publishes of a source, read from the program itself until something holds."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
Messages = list[dict[str, Any]]


def published(
    source: str,
    bundle: Path,
    folder: Path,
    until: Callable[[Messages], bool],
    flags: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
) -> Messages:
    """The faces messages of ``dfer-stream run`` until they say what is waited for, asked after each of them."""
    messages: Messages = []
    orders = ["run", "--source", source, "--json", "--bundle", str(bundle), "--threads", "1"]
    child = subprocess.Popen(
        [sys.executable, "-m", "stream.cli", *orders, "--bind", f"ipc://{folder}/s.ipc", "--seconds", "200", *flags],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT), **(environment or {})}, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert child.stdout is not None
    reached = False
    for line in child.stdout:
        messages.append(json.loads(line))
        if until(messages):
            reached = True
            break
    child.send_signal(signal.SIGTERM)
    _, said = child.communicate(timeout=120)
    assert reached, said
    assert "Traceback" not in said
    return messages


def faults(messages: Messages) -> set[str]:
    """What frames suffered from."""
    return {fault for message in messages for fault in message["degraded"]}


def ids(messages: Messages) -> set[str]:
    """Faces, those reported lost too."""
    return {face["id"] for message in messages for face in message["faces"]}
