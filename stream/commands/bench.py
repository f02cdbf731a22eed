"""``dfer-stream bench``: the real daemon, measured from outside through what it publishes.

Each case starts ``dfer-stream run`` as a process of its own and reads every message it publishes, so start-up,
capture, sockets and serialisation are in the figures. A fixed calibration loop and the bare encoder beside them make
figures from different machines comparable.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from rich.console import Console
from rich.table import Table

from engine.backends import open_artefact
from engine.backends.runtime import cpu_name
from engine.bench.baseline import openvino_alone_ms
from engine.bench.machine import calibration_loop_ms
from engine.console import Exit
from engine.errors import DferError
from engine.files import write_text
from engine.settings.arguments import count, seconds
from stream.assemble import DEFAULT_BUNDLE
from stream.camera.paths import demo_clip_path
from stream.camera.uri import parse_uri
from stream.publish.message import Faces
from stream.publish.wire import decode

STAGES = ("capture", "detect", "infer", "total")
WARM_MESSAGES = 30


@dataclass(frozen=True)
class Case:
    """One measurement.

    Attributes:
        name: What it is called in the table.
        bundle: The model.
        flags: More flags of ``dfer-stream run``.
    """

    name: str
    bundle: Path
    flags: tuple[str, ...]


@dataclass
class Figures:
    """What one case gave.

    Attributes:
        case: Its name.
        model: The model's name, back end and precision.
        fps: Messages per second after the first second's worth.
        messages: How many were counted.
        dropped: Frames captured and not processed.
        first_score_s: From the start of the process to the first message with scores.
        stages_ms: p50, p95 and p99 by stage, ms; ``infer`` over frames that were samples; ``total`` is capture to
            publish (files: arrival in memory to publish).
        cpu_cores: Processor time over wall time, the capture child included: 2.0 is two busy cores.
        cpu_ms: Processor time a message, ms.
        peak_mb: Sum of the peak resident memory of the daemon and its capture child, MB.
    """

    case: str
    model: str
    fps: float
    messages: int
    dropped: int
    first_score_s: float | None
    stages_ms: dict[str, dict[str, float]] = field(default_factory=dict)
    cpu_cores: float = 0.0
    cpu_ms: float = 0.0
    peak_mb: float = 0.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``dfer-stream bench``."""
    parser.add_argument(
        "--bundle",
        type=Path,
        action="append",
        help="bundle or engine directory (default: the built-in one); repeatable",
    )
    parser.add_argument("--source", metavar="URI", help="camera or file to measure on (default: the demo's clip)")
    parser.add_argument(
        "--seconds", type=seconds, default=15.0, help="length of each case played in real time [%(default)s]"
    )
    parser.add_argument(
        "--frames", type=count(), default=1500, help="frames of the case played without waiting [%(default)s]"
    )
    parser.add_argument(
        "--every-frame-encoded", action="store_true", help="also a case that encodes every camera frame"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the JSON to this file too")


def run(args: argparse.Namespace) -> int:
    """Measure and print."""
    if args.out is not None and not args.out.absolute().parent.is_dir():
        raise BenchError(f"--out {args.out}: the folder does not exist", "make it, or name another file")
    text = json.dumps(measure(args, Console(stderr=args.json)), indent=2)
    if args.out is not None:
        write_text(args.out, text + "\n")
    if args.json:
        print(text)
    return Exit.DONE


class BenchError(DferError):
    """A case that did not run; the message holds what the daemon said."""


def measure(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Run every case; returns the report and prints it as tables."""
    bundles = args.bundle or [DEFAULT_BUNDLE]
    # Before anything is measured: a wrong address is one line.
    source = args.source or f"file://{demo_clip_path()}"
    is_file = parse_uri(source).is_file
    machine = {
        "processor": cpu_name(),
        "cores": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "calibration_loop_ms": calibration_loop_ms(),
    }
    console.print(
        f"{machine['processor']}, {machine['cores']} cores; calibration loop {machine['calibration_loop_ms']:.1f} ms"
    )
    report: dict[str, Any] = {"machine": machine, "bare_encoder": [], "cases": []}
    for path in bundles:
        bundle = open_artefact(path)
        bare = {"model": bundle.spec.name, **openvino_alone_ms(bundle.encoder, bundle.spec)}
        report["bare_encoder"].append(bare)
        console.print(
            f"{bundle.spec.name}: bare OpenVINO on the encoder's graph {bare['p50_ms']:.2f} ms ({bare['precision']})"
        )
    figures = []
    for case in _cases(bundles, source, is_file, args):
        console.print(f"[dim]{case.name} …[/dim]")
        figures.append(_run_case(case))
    report["cases"] = [asdict(figure) for figure in figures]
    console.print(_table(figures))
    return report


def _cases(bundles: Sequence[Path], source: str, is_file: bool, args: argparse.Namespace) -> list[Case]:
    """A file is played unpaced and at its own rate, again and again; a camera gives frames at its rate alone."""
    played = ("--source", source, *(("--camera.loop",) if is_file else ()))
    cases = []
    for path in bundles:
        spec = open_artefact(path).spec
        name = spec.name
        paced = (*played, "--seconds", str(args.seconds))
        if is_file:
            cases.append(Case(f"{name}, file unpaced", path, (*played, "--every-frame", "--frames", str(args.frames))))
        cases.append(Case(f"{name}, own rate, {spec.sample_hz:g} Hz samples", path, paced))
        if args.every_frame_encoded and spec.unit == 1:
            # The smallest multiple of the model's rate above the camera's: no two frames share a tick.
            encode_hz = spec.sample_hz * int(30 // spec.sample_hz + 1)
            cases.append(
                Case(f"{name}, 30 fps, every frame encoded", path, (*paced, "--model.encode-hz", str(encode_hz)))
            )
    return cases


def _run_case(case: Case) -> Figures:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "stream.cli", "run", "--json", "--bundle", str(case.bundle)]
        command += ["--bind", f"ipc://{folder}/bench.ipc", *case.flags]
        started_ns = time.monotonic_ns()
        with (
            (Path(folder) / "errors").open("wb") as errors,
            subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors) as process,
        ):
            watch = _Watch(process.pid)
            messages = []
            assert process.stdout is not None
            for line in process.stdout:
                messages.append(decode(line, Faces))
                if len(messages) % WARM_MESSAGES == 0:
                    watch.look()
        if process.returncode != 0 or len(messages) <= WARM_MESSAGES:
            words = (Path(folder) / "errors").read_text("utf-8", "replace").strip()
            raise BenchError(
                f"{case.name}: the daemon ended with code {process.returncode} after {len(messages)} messages: {words}"
            )
    return _figures(case, messages, started_ns, watch)


def _figures(case: Case, messages: list[Faces], started_ns: int, watch: _Watch) -> Figures:
    scored = next((m for m in messages if any(face.probs for face in m.faces)), None)
    steady = messages[WARM_MESSAGES:]
    span_s = (steady[-1].t_publish_ns - steady[0].t_publish_ns) / 1e9
    stages: dict[str, dict[str, float]] = {}
    for stage in STAGES:
        values = [value for m in steady if (value := getattr(m.latency_ms, stage)) is not None]
        if values:
            p50, p95, p99 = np.percentile(values, [50, 95, 99])
            stages[stage] = {"p50": round(float(p50), 2), "p95": round(float(p95), 2), "p99": round(float(p99), 2)}
    model = messages[-1].model
    return Figures(
        case=case.name,
        model=f"{model.name} {model.backend} {model.precision}" if model else "",
        fps=round((len(steady) - 1) / span_s, 1),
        messages=len(steady),
        dropped=messages[-1].dropped_total - messages[WARM_MESSAGES].dropped_total,
        first_score_s=None if scored is None else round((scored.t_publish_ns - started_ns) / 1e9, 2),
        stages_ms=stages,
        cpu_cores=round(watch.cores, 2),
        cpu_ms=round(watch.cores / (len(steady) - 1) * span_s * 1e3, 2),
        peak_mb=round(watch.peak_mb, 1),
    )


class _Watch:
    """Peak memory and processor time of a process and its children, while they live."""

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)
        self._peaks: dict[int, float] = {}
        self._first: tuple[float, float] | None = None
        self.cores = 0.0

    @property
    def peak_mb(self) -> float:
        return sum(self._peaks.values())

    def look(self) -> None:
        cpu_s = 0.0
        try:
            for process in (self._process, *self._process.children(recursive=True)):
                self._peaks[process.pid] = max(self._peaks.get(process.pid, 0.0), _peak_mb(process.pid))
                times = process.cpu_times()
                cpu_s += times.user + times.system
        except psutil.NoSuchProcess:
            return
        now = (time.monotonic(), cpu_s)
        if self._first is None:
            self._first = now
        elif now[0] > self._first[0]:
            self.cores = (now[1] - self._first[1]) / (now[0] - self._first[0])


def _peak_mb(pid: int) -> float:
    """VmHWM: the highest resident set so far, MB."""
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / 1e6
    except OSError:
        pass
    return 0.0


def _table(figures: Sequence[Figures]) -> Table:
    table = Table(title="dfer-stream bench (ms: p50 / p95 / p99)")
    table.add_column("")
    for figure in figures:
        table.add_column(figure.case, justify="right")
    rows: dict[str, Callable[[Figures], str]] = {
        "messages/s": lambda f: f"{f.fps:.1f}",
        "capture → publish ms": lambda f: _percentiles(f, "total"),
        "detect and follow ms": lambda f: _percentiles(f, "detect"),
        "encode and score ms": lambda f: _percentiles(f, "infer"),
        "dropped frames": lambda f: str(f.dropped),
        "CPU ms a message": lambda f: f"{f.cpu_ms:.1f}",
        "busy cores": lambda f: f"{f.cpu_cores:.2f}",
        "peak memory MB": lambda f: f"{f.peak_mb:.0f}",
        "first score s": lambda f: "–" if f.first_score_s is None else f"{f.first_score_s:.1f}",
    }
    for name, cell in rows.items():
        table.add_row(name, *(cell(figure) for figure in figures))
    return table


def _percentiles(figures: Figures, stage: str) -> str:
    values = figures.stages_ms.get(stage)
    return "–" if values is None else " / ".join(f"{values[p]:.1f}" for p in ("p50", "p95", "p99"))
