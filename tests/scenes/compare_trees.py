"""Two trees of this project side by side: cost, memory, start and agreement of the whole daemon, by turns.

    git worktree add ../base COMMIT
    python -m tests.scenes.compare_trees ../base [--rounds 5] [--cases demo,eight] [--json FILE]

Both trees run with this interpreter. CPU is user and system time of daemon and capture child, of long runs less short
ones, so that starting does not count; every round runs the base, then this tree, and the table holds medians. Scenes
are made once of the demo clip and of the clips in DFER_SHARED_DATA (where absent, those cases are left out).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from stream.camera.paths import demo_clip_path

ROOT = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get("DFER_SHARED_DATA") or ROOT / "shared" / "data") / "video"
_GRID = ("grid_bbaf2n.mpg", "grid_brbk7n.mpg", "grid_lbax4n.mpg", "grid_lbbc2a.mpg", "grid_lwbsza.mpg")
_HEADS = ("intel_head-pose-face-detection-male.gif", "intel_head-pose-face-detection-female.gif")
_EIGHT = (*_GRID, *_HEADS, "intel_asl_thanks.mkv")

Image = NDArray[np.uint8]


@dataclass(frozen=True)
class Case:
    """One clip.

    Attributes:
        name: In the table.
        sources: Clips it is made of.
        size: Width and height, px; None plays the first source as it is.
        skip: Frames left out at the start of each source.
        frames: Frames of the long and of the short run.
    """

    name: str
    sources: tuple[Path, ...]
    size: tuple[int, int] | None = (640, 480)
    skip: int = 0
    frames: tuple[int, int] = (1100, 200)


def cases() -> list[Case]:
    """The clips whose sources are here."""
    demo = demo_clip_path()
    every = [
        Case("demo", (demo,), None),
        Case("head poses", (SHARED / _HEADS[0],)),
        Case("speaker", (SHARED / _GRID[0],)),
        Case("signer", (SHARED / _EIGHT[-1],)),
        Case("no face", (SHARED / "pyfeat_face_noface.mov",), skip=76),
        Case("eight", tuple(SHARED / name for name in _EIGHT), (1280, 720), frames=(500, 140)),
        Case("4K", (demo,), (3840, 2160), frames=(260, 80)),
    ]
    return [case for case in every if all(source.is_file() for source in case.sources)]


def make_clip(case: Case, folder: Path) -> Path:
    """Write a case's clip: its sources side by side, forth and back, so that the end joins the start without a cut."""
    if case.size is None:
        return case.sources[0]
    path = folder / f"{case.name.replace(' ', '-')}.mp4"
    if path.is_file():
        return path
    width, height = case.size
    columns = 4 if len(case.sources) > 1 else 1
    rows = -(-len(case.sources) // columns)
    cell = (width // columns, height // rows)
    clips = [_there_and_back(_frames(source, case.skip, cell)) for source in case.sources]
    length = 150 if width <= 1280 else 60
    draft = path.with_suffix(".part.mp4")
    writer = cv2.VideoWriter(str(draft), cv2.VideoWriter.fourcc(*"mp4v"), 30, case.size)
    for index in range(length):
        tiles = [clip[index % len(clip)] for clip in clips]
        tiles += [np.full_like(tiles[0], 128)] * (columns * rows - len(tiles))
        board = [np.hstack(tiles[row * columns : (row + 1) * columns]) for row in range(rows)]
        writer.write(np.vstack(board))
    writer.release()
    draft.rename(path)
    return path


def _frames(source: Path, skip: int, size: tuple[int, int]) -> Iterator[Image]:
    capture = cv2.VideoCapture(str(source))
    index = 0
    while index < skip + 76:
        good, image = capture.read()
        if not good:
            break
        index += 1
        if index > skip:
            height, width = image.shape[:2]
            # The whole picture at its own proportions, in the middle of the cell.
            scale = min(size[0] / width, size[1] / height)
            part = cv2.resize(image, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_AREA)
            cell = np.full((size[1], size[0], 3), 96, np.uint8)
            y, x = (size[1] - part.shape[0]) // 2, (size[0] - part.shape[1]) // 2
            cell[y : y + part.shape[0], x : x + part.shape[1]] = part
            yield cell
    capture.release()


def _there_and_back(frames: Iterator[Image]) -> list[Image]:
    forth = list(frames)
    return forth + forth[-2:0:-1]


@dataclass
class Run:
    """One run of a daemon.

    Attributes:
        cpu_s: User and system time, the capture child's included.
        wall_s: From start to end.
        peak_mb: Sum of both processes' peak resident memory.
        label_s: From start to the first label; None where there was none or it was not looked for.
        label_cpu_s: CPU time until then.
        rows: Its messages, where they were asked for.
    """

    cpu_s: float
    wall_s: float
    peak_mb: float
    label_s: float | None = None
    label_cpu_s: float | None = None
    rows: list[dict[str, Any]] = field(default_factory=list)


def run(tree: Path, clip: Path, frames: int, rows: bool = False, to_label: bool = False, **more: str) -> Run:
    """Run a tree's daemon over a clip, every frame, without waiting."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "stream.cli", "run", "--source", f"file://{clip}", "--every-frame"]
        command += ["--camera.loop", "--frames", str(frames), "--bind", f"ipc://{folder}/compare.ipc"]
        command.append("--json" if rows or to_label else "--quiet")
        environment = {**os.environ, "PYTHONPATH": str(tree), **more}
        began = time.monotonic()
        process = subprocess.Popen(command, cwd=tree, env=environment, stdout=subprocess.PIPE)
        assert process.stdout is not None
        peaks: dict[int, float] = {}
        lines: list[bytes] = []
        label_s = label_cpu_s = None
        if rows or to_label:
            for line in process.stdout:
                lines.append(line)
                if to_label and any(face["label"] for face in json.loads(line)["faces"]):
                    label_s, label_cpu_s = time.monotonic() - began, _cpu_s(process.pid)
                    _peaks(process.pid, peaks)
                    process.terminate()
                    break
            process.stdout.read()
        while True:
            _peaks(process.pid, peaks)
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            if pid:
                break
            time.sleep(0.02)
        process.returncode = os.waitstatus_to_exitcode(status)
        process.stdout.close()
        if process.returncode != 0:
            raise SystemExit(f"{tree}: {' '.join(command)} ended with {process.returncode}")
    return Run(
        usage.ru_utime + usage.ru_stime,
        time.monotonic() - began,
        sum(peaks.values()),
        label_s,
        label_cpu_s,
        [json.loads(line) for line in lines] if rows else [],
    )


def _family(pid: int) -> list[int]:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [pid, *map(int, children)]


def _peaks(pid: int, peaks: dict[int, float]) -> None:
    for member in _family(pid):
        try:
            for line in Path(f"/proc/{member}/status").read_text().splitlines():
                if line.startswith("VmHWM:"):
                    peaks[member] = max(peaks.get(member, 0.0), int(line.split()[1]) * 1024 / 1e6)
        except OSError:
            continue


def _cpu_s(pid: int) -> float:
    total = 0
    for member in _family(pid):
        fields = Path(f"/proc/{member}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Agreement:
    """How alike two runs over the same frames are.

    Attributes:
        labels: Share of the base's labelled faces with the same label here; None where there was none.
        iou: Median overlap of boxes.
        found: Faces with landmarks, here over the base.
        ids: Ids given out, the base's and ours.
        jitter: Root mean square of a box centre's second difference, shares of its width, ours over the base's.
    """

    labels: float | None
    iou: float | None
    found: float | None
    ids: tuple[int, int]
    jitter: float | None


def agreement(base: Sequence[dict[str, Any]], ours: Sequence[dict[str, Any]]) -> Agreement:
    """Compare the rows of two runs, face by face: each of the base's with the one that overlaps it most."""
    same: list[bool] = []
    overlaps: list[float] = []
    for a, b in zip(base, ours, strict=True):
        seen = [face for face in b["faces"] if face["state"] in ("new", "tracked")]
        for face in a["faces"]:
            if face["state"] not in ("new", "tracked"):
                continue
            best = max(seen, key=lambda other: _iou(face["box"], other["box"]), default=None)
            overlaps.append(0.0 if best is None else _iou(face["box"], best["box"]))
            if face["label"] is not None:
                same.append(best is not None and best["label"] == face["label"])
    counts = [sum(f["state"] in ("new", "tracked") for row in rows for f in row["faces"]) for rows in (base, ours)]
    ids = tuple(len({face["id"] for row in rows for face in row["faces"]}) for rows in (base, ours))
    shakes = [_shake(rows) for rows in (base, ours)]
    return Agreement(
        sum(same) / len(same) if same else None,
        float(np.median(overlaps)) if overlaps else None,
        counts[1] / counts[0] if counts[0] else None,
        (ids[0], ids[1]),
        shakes[1] / shakes[0] if shakes[0] else None,
    )


def _iou(a: Sequence[float], b: Sequence[float]) -> float:
    across = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    down = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    shared = max(across, 0.0) * max(down, 0.0)
    return shared / max(a[2] * a[3] + b[2] * b[3] - shared, 1e-9)


def _shake(rows: Sequence[dict[str, Any]]) -> float:
    paths: dict[str, list[tuple[int, float, float]]] = {}
    for index, row in enumerate(rows):
        for face in row["faces"]:
            if face["state"] in ("new", "tracked"):
                x, y, width, height = face["box"]
                paths.setdefault(face["id"], []).append((index, (x + width / 2) / width, (y + height / 2) / width))
    squares = []
    for path in paths.values():
        for (i, ax, ay), (_, bx, by), (k, cx, cy) in zip(path, path[1:], path[2:], strict=False):
            if k == i + 2:
                squares.append((ax - 2 * bx + cx) ** 2 + (ay - 2 * by + cy) ** 2)
    return float(np.sqrt(np.mean(squares))) if squares else 0.0


def compare(case: Case, clip: Path, trees: tuple[Path, Path], rounds: int) -> dict[str, Any]:
    """Cost, memory and agreement of one case."""
    long, short = case.frames
    costs: tuple[list[float], list[float]] = ([], [])
    rates: tuple[list[float], list[float]] = ([], [])
    peaks: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for tree, cost, rate, peak in zip(trees, costs, rates, peaks, strict=True):
            whole, part = run(tree, clip, long), run(tree, clip, short)
            cost.append((whole.cpu_s - part.cpu_s) / (long - short) * 1e3)
            rate.append((long - short) / max(whole.wall_s - part.wall_s, 1e-3))
            peak.append(whole.peak_mb)
    rows = [run(tree, clip, long, rows=True).rows for tree in trees]
    return {
        "case": case.name,
        "cpu_ms": [median(cost) for cost in costs],
        "cpu_ratio": median(ours / base for base, ours in zip(*costs, strict=True)),
        "fps_ratio": median(ours / base for base, ours in zip(*rates, strict=True)),
        "peak_mb": [median(peak) for peak in peaks],
        **asdict(agreement(*rows)),
    }


def compare_start(clip: Path, trees: tuple[Path, Path], rounds: int) -> dict[str, Any]:
    """Start to first label: cold (an empty cache folder each time) and warm; and the CPU of ``--help``."""
    report: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as warm:
        environments: dict[str, Callable[[str], str]] = {"warm": lambda _: warm, "cold": lambda folder: folder}
        for tree in trees:
            run(tree, clip, 2000, to_label=True, XDG_CACHE_HOME=warm)
        for name, cache in environments.items():
            walls: tuple[list[float], list[float]] = ([], [])
            cpus: tuple[list[float], list[float]] = ([], [])
            for _ in range(rounds):
                for tree, wall, cpu in zip(trees, walls, cpus, strict=True):
                    with tempfile.TemporaryDirectory() as folder:
                        got = run(tree, clip, 2000, to_label=True, XDG_CACHE_HOME=cache(folder))
                    wall.append(got.label_s or float("nan"))
                    cpu.append(got.label_cpu_s or float("nan"))
            report[name] = {
                "label_s": [median(wall) for wall in walls],
                "label_ratio": median(ours / base for base, ours in zip(*walls, strict=True)),
                "cpu_s": [median(cpu) for cpu in cpus],
                "cpu_ratio": median(ours / base for base, ours in zip(*cpus, strict=True)),
            }
    helps: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for tree, spent in zip(trees, helps, strict=True):
            command = [sys.executable, "-m", "stream.cli", "run", "--help"]
            process = subprocess.Popen(
                command, cwd=tree, env={**os.environ, "PYTHONPATH": str(tree)}, stdout=subprocess.DEVNULL
            )
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            spent.append((usage.ru_utime + usage.ru_stime) * 1e3)
    report["help_cpu_ms"] = [median(spent) for spent in helps]
    return report


def main(arguments: list[str] | None = None) -> int:
    """Compare and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.scenes.compare_trees", description=__doc__)
    parser.add_argument("base", type=Path, help="the other tree")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cases", default="", help="some of them, by name; 'start' is one too")
    parser.add_argument("--clips", type=Path, default=Path(tempfile.gettempdir()) / "dferstream-clips")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args(arguments)
    options.clips.mkdir(parents=True, exist_ok=True)
    trees = (options.base.resolve(), ROOT)
    wanted = [name for name in options.cases.split(",") if name]
    report: dict[str, Any] = {"cases": []}
    for case in cases():
        if wanted and case.name not in wanted:
            continue
        figures = compare(case, make_clip(case, options.clips), trees, options.rounds)
        report["cases"].append(figures)
        print(json.dumps(figures), flush=True)
    if not wanted or "start" in wanted:
        report["start"] = compare_start(demo_clip_path(), trees, options.rounds)
        print(json.dumps(report["start"]), flush=True)
    if options.json is not None:
        options.json.write_text(json.dumps(report, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
