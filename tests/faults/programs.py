"""Programs as their units run them: started again a second after they ended, whatever ended them."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[2]
RESTART_S = 1.0
"""``RestartSec=`` of systemd/dferstream@.service."""


def dfer_stream(*words: object) -> list[str]:
    """The command line of a ``dfer-stream`` command."""
    return [sys.executable, "-m", "stream.cli", *map(str, words)]


class Program:
    """A supervised program.

    Args:
        name: Of its logs.
        command: What is run; :func:`dfer_stream` makes one.
        folder: Where its standard output and error go, appended to ``name.out`` and ``name.err``; also its TMPDIR.
        environment: Beside this process's own.
        prefix: Put before the command, as ``nsenter`` is.

    Attributes:
        started_ns: When each run began, CLOCK_MONOTONIC.
        ended: Exit statuses of the runs that ended while they were wanted.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        folder: Path,
        environment: Mapping[str, str] | None = None,
        prefix: Sequence[str] = (),
    ) -> None:
        self.name, self.folder = name, folder
        self._command = [*prefix, *command]
        self._environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "TMPDIR": str(folder)}
        self._environment.update(environment or {})
        self.started_ns: list[int] = []
        self.ended: list[int] = []
        self._wanted = threading.Event()
        self._gone = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._thread: threading.Thread | None = None

    @property
    def out(self) -> Path:
        """Its standard output."""
        return self.folder / f"{self.name}.out"

    @property
    def err(self) -> Path:
        """Its standard error."""
        return self.folder / f"{self.name}.err"

    @property
    def pid(self) -> int:
        """Of the newest run."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Run it from now on."""
        self._wanted.set()
        self._run()
        self._thread = threading.Thread(target=self._supervise, name=f"supervise {self.name}", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End it, kindly for ten seconds."""
        self._wanted.clear()
        self._gone.set()
        if self._process is not None:
            self.signal(signal.SIGCONT)
            self.signal(signal.SIGTERM)
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
        if self._thread is not None:
            self._thread.join()

    def signal(self, number: int) -> None:
        """Send a signal to the newest run; nothing where that has gone."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def children(self) -> list[psutil.Process]:
        """What it started and has not waited for."""
        with contextlib.suppress(psutil.NoSuchProcess):
            return psutil.Process(self.pid).children(recursive=True)
        return []

    def said(self) -> str:
        """All of its standard error."""
        return self.err.read_text("utf-8", "replace") if self.err.exists() else ""

    def _run(self) -> None:
        with self.out.open("ab") as out, self.err.open("ab") as err:
            self._process = subprocess.Popen(
                self._command, cwd=ROOT, env=self._environment, stdin=subprocess.DEVNULL, stdout=out, stderr=err
            )
        self.started_ns.append(time.monotonic_ns())

    def _supervise(self) -> None:
        while self._wanted.is_set():
            assert self._process is not None
            status = self._process.wait()
            if not self._wanted.is_set():
                return
            self.ended.append(status)
            self._gone.wait(RESTART_S)
            while self._wanted.is_set():
                try:
                    self._run()
                    break
                except OSError:  # no room for the log: systemd tries again too
                    self._gone.wait(RESTART_S)


def cpu_s(process: psutil.Process) -> float:
    """CPU seconds of a process and of its children, the waited-for ones too."""
    times = process.cpu_times()
    own: float = times.user + times.system + times.children_user + times.children_system
    with contextlib.suppress(psutil.NoSuchProcess):
        own += sum(sum(child.cpu_times()[:2]) for child in process.children(recursive=True))
    return own


def end_kindly() -> None:
    """Let SIGTERM unwind this process like Ctrl-C, so that what it started is ended too."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.default_int_handler)


def now_ns() -> int:
    """CLOCK_MONOTONIC."""
    return time.monotonic_ns()
