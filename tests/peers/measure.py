"""One run of one program on one clip, watched from outside: processor time, memory, and what it says."""

from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from tests.peers.environments import CannotRun
from tests.peers.peers import Start

WARM_FRAMES = 30
"""Not counted in what a frame costs: nets are compiled and caches filled in them."""


@dataclass(frozen=True)
class Run:
    """What one run gave.

    Attributes:
        cpu_ms: Processor time a frame, user and system, every process of the tree, after the warm frames.
        fps: Frames a second of wall time, after the warm frames.
        first_label_s: From the start of the process to the first frame with a label, wall time.
        start_cpu_s: Processor time until the warm frames were done.
        peak_mb: Sum over the tree's processes of their highest resident memory, MB.
        labels: One a frame of the first pass; None where none was given.
    """

    cpu_ms: float
    fps: float
    first_label_s: float | None
    start_cpu_s: float
    peak_mb: float
    labels: list[str | None]


def run(start: Start, frames: int, once: int) -> Run:
    """Start a program, read its lines, and wait for its end.

    Args:
        start: What to start.
        frames: How many lines it will print.
        once: Frames of the clip; labels of the first pass are kept.

    Raises:
        CannotRun: If it fails, with its last line.
    """
    with tempfile.TemporaryFile() as errors:
        # Byte code is kept: a program's second start is what its users know.
        kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        begun = time.monotonic()
        process = subprocess.Popen(
            start.command,
            stdout=subprocess.PIPE,
            stderr=errors,
            env={**kept, **start.environment},
        )
        assert process.stdout is not None
        tree = _Tree(process.pid)
        labels: list[str | None] = []
        first_label_s: float | None = None
        warm: tuple[float, float, int] | None = None
        for line in process.stdout:
            answer = _label(line)
            if answer is _NOT_A_FRAME:
                continue
            labels.append(answer)
            if answer is not None and first_label_s is None:
                first_label_s = time.monotonic() - begun
            if len(labels) == WARM_FRAMES:
                warm = (time.monotonic(), tree.cpu_s(), len(labels))
            if len(labels) % WARM_FRAMES == 0 or len(labels) == frames:
                tree.look()
        ended = time.monotonic()
        # Of the process and of every child that it waited for; psutil would miss what ended just now.
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0 or warm is None or len(labels) <= WARM_FRAMES:
            errors.seek(0)
            said = errors.read().decode("utf-8", "replace").strip().splitlines()
            why = next((line for line in said if re.match(r"[\w.]*Error", line)), said[-1] if said else "")
            raise CannotRun(f"ended with {process.returncode} after {len(labels)} frames: {why}")
    spent_s = usage.ru_utime + usage.ru_stime - warm[1]
    counted = len(labels) - warm[2]
    return Run(
        cpu_ms=spent_s / counted * 1e3,
        fps=counted / (ended - warm[0]),
        first_label_s=first_label_s,
        start_cpu_s=warm[1],
        peak_mb=tree.peak_mb,
        labels=labels[:once],
    )


_NOT_A_FRAME: Any = object()


def _label(line: bytes) -> Any:
    """A worker's label, or that of the daemon's primary face; what packages print besides is passed over."""
    try:
        answer = json.loads(line)
    except ValueError:
        return _NOT_A_FRAME
    if not isinstance(answer, dict):
        return _NOT_A_FRAME
    if "faces" in answer:
        faces = answer["faces"]
        return next((face["label"] for face in faces if face["primary"]), faces[0]["label"] if faces else None)
    return answer.get("label", _NOT_A_FRAME)


class _Tree:
    """Processor time and memory of a process and all below it, while they live."""

    def __init__(self, pid: int) -> None:
        self._root = psutil.Process(pid)
        self._peaks: dict[int, float] = {}

    @property
    def peak_mb(self) -> float:
        return sum(self._peaks.values())

    def cpu_s(self) -> float:
        total = 0.0
        for process in self._processes():
            try:
                times = process.cpu_times()
            except psutil.NoSuchProcess:
                continue
            total += times.user + times.system + times.children_user + times.children_system
        return total

    def look(self) -> None:
        for process in self._processes():
            try:
                lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
            except OSError:
                continue
            peak = next((int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmHWM:")), 0.0)
            self._peaks[process.pid] = max(self._peaks.get(process.pid, 0.0), peak)

    def _processes(self) -> list[psutil.Process]:
        try:
            return [self._root, *self._root.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []
