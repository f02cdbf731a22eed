"""A daemon on the demo clip and the page's server, as processes of their own."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[4]
DEADLINE_S = 90.0
_ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "DISPLAY": "", "WAYLAND_DISPLAY": ""}


def command(*arguments: str) -> list[str]:
    """``dfer-stream`` with arguments."""
    return [sys.executable, "-m", "stream.cli", *arguments]


@contextmanager
def process(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """``dfer-stream`` in the background; its standard error is a pipe. It is ended."""
    child = subprocess.Popen(
        command(*arguments), cwd=ROOT, env=_ENVIRONMENT, stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        yield child
    finally:
        child.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(20)
        child.kill()
        child.wait()
        assert child.stderr is not None
        child.stderr.close()


@contextmanager
def daemon(endpoint: str, *more: str) -> Iterator[subprocess.Popen[str]]:
    """A daemon on the demo clip."""
    flags = ("run", "--source", "demo://", "--source-name", "cam0", "--bind", endpoint, "--quiet", *more)
    with process(*flags) as child:
        yield child


@contextmanager
def view(*arguments: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The page's server on a free port: its address and process."""
    with process("view", "--port", "0", *arguments) as child:
        yield address_of(child), child


def address_of(child: subprocess.Popen[str]) -> str:
    """The address that the server prints when it serves."""
    return next(word for word in line_with(child, "http://").split() if word.startswith("http://"))


def line_with(child: subprocess.Popen[str], text: str) -> str:
    """The next line of standard error that holds a text."""
    assert child.stderr is not None
    deadline, seen = time.monotonic() + DEADLINE_S, ""
    while time.monotonic() < deadline:
        ready, _, _ = select.select([child.stderr], [], [], 1.0)
        if ready:
            line = child.stderr.readline()
            seen += line
            if text in line:
                return line
            assert line or child.poll() is None, f"it has ended: {seen}"
    raise AssertionError(f"no line with {text!r} within {DEADLINE_S:g} s: {seen}")
