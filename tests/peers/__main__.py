"""Measure ours beside its peers, by turns::

    python -m tests.peers [--rounds N] [--frames N] [--peers NAME …] [--clips FILE …] [--build NAME=PROGRAM …]

Leaves ``peers.json``, ``peers.md`` and ``peers.png`` in ``--out``. Each peer has an environment of its own there, made
on first use. Programs are started one after the other, round after round, so that a slow hour is slow for all.
"""

from __future__ import annotations

import argparse
import datetime
import itertools
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import cv2

from engine.backends.runtime import cpu_name
from stream.camera import demo_clip_path
from tests.peers.environments import CannotRun, size_mb
from tests.peers.figures import Row, Segment, row
from tests.peers.measure import Run, run
from tests.peers.peers import NOT_HERE, PEERS, Start, installed, ours, start
from tests.peers.report import draw, table

ROOT = Path(__file__).resolve().parents[2]
OURS = "dferstream"
_CLIPS = ("pyfeat_single_face.mp4", "intel_asl_thanks.mkv", "grid_brbk7n.mpg")


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(prog="python -m tests.peers", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="runs of each program on each clip [%(default)s]")
    parser.add_argument("--frames", type=int, default=360, help="frames of each run [%(default)s]")
    parser.add_argument("--peers", nargs="*", default=[peer.name for peer in PEERS], help="which, by name")
    parser.add_argument("--clips", nargs="*", type=Path, help="instead of the demo's and three of the shared data")
    parser.add_argument("--build", action="append", default=[], metavar="NAME=PROGRAM", help="another dfer-stream")
    parser.add_argument("--here", action="store_true", help="run ours from this environment, not from one of its own")
    parser.add_argument("--out", type=Path, default=ROOT / ".cache" / "peers")
    args = parser.parse_args(argv)
    args.out.mkdir(parents=True, exist_ok=True)
    data = _shared_data()
    clips = args.clips or [demo_clip_path(), *(data / "video" / name for name in _CLIPS if data is not None)]
    programs = {OURS: [sys.executable, "-m", "stream.cli"] if args.here else installed(args.out)}
    programs |= {name: [program] for name, _, program in (build.partition("=") for build in args.build)}
    rows: list[Row] = []
    missing: dict[str, str] = {}
    for clip in clips:
        starts = _starts(args, clip, programs, data, missing)
        rows += _clip(args, clip, starts, missing)
    when = datetime.datetime.now(datetime.timezone.utc).date()
    machine = f"{cpu_name()}, {os.cpu_count()} cores, {when}; {args.rounds} rounds by turns, {args.frames} frames each"
    notes = {peer.name: peer.note for peer in PEERS if any(row.name == peer.name for row in rows)}
    text = table(rows, notes, {**missing, **NOT_HERE}, machine)
    print(text)
    (args.out / "peers.md").write_text(text, "utf-8")
    report = {"machine": machine, "rows": [asdict(row) for row in rows], "missing": {**missing, **NOT_HERE}}
    (args.out / "peers.json").write_text(json.dumps(report, indent=2) + "\n", "utf-8")
    draw(rows, args.out / "peers.png")
    return 0


def _starts(
    args: argparse.Namespace,
    clip: Path,
    programs: dict[str, list[str]],
    data: Path | None,
    missing: dict[str, str],
) -> dict[str, Start]:
    endpoint = Path(tempfile.gettempdir()) / f"dferstream-peers-{os.getpid()}.ipc"
    starts = {}
    for name, program in programs.items():
        made = ours(program, clip, args.frames, endpoint)
        starts[name] = Start(made.command, {} if args.here else {"PYTHONPATH": ""}, _environment_mb(program[0]))
    for peer in PEERS:
        if peer.name in args.peers and peer.name not in missing:
            print(f"{peer.name} …", file=sys.stderr)
            try:
                starts[peer.name] = start(peer, clip, args.frames, args.out, data)
            except CannotRun as error:
                missing[peer.name] = str(error)
    return starts


def _clip(args: argparse.Namespace, clip: Path, starts: dict[str, Start], missing: dict[str, str]) -> list[Row]:
    capture = cv2.VideoCapture(str(clip))
    once, fps = round(capture.get(cv2.CAP_PROP_FRAME_COUNT)), capture.get(cv2.CAP_PROP_FPS)
    capture.release()
    runs: dict[str, list[Run]] = {name: [] for name in starts}
    for index in range(args.rounds):
        for name, begin in starts.items():
            if name in missing:
                continue
            print(f"round {index + 1}, {clip.name}, {name}", file=sys.stderr)
            try:
                runs[name].append(run(begin, args.frames, once))
            except CannotRun as error:
                if name == OURS:
                    raise
                missing[name] = str(error)
    told = {peer.name for peer in PEERS if not peer.classes or peer.random}
    expressions = _segments(clip)
    return [
        row(name, clip.name, done, runs[OURS], starts[name].install_mb, None if name in told else expressions, fps)
        for name, done in runs.items()
        if done and name not in missing
    ]


def _segments(clip: Path) -> list[Segment]:
    """The demo's expressions after the first; of other clips they are not known."""
    if clip.resolve() != demo_clip_path().resolve():
        return []
    listed = json.loads(clip.with_suffix(".json").read_text("utf-8"))["segments"]
    return [
        Segment(after["expression"], before["end_s"], after["end_s"]) for before, after in itertools.pairwise(listed)
    ]


def _environment_mb(program: str) -> int | None:
    """The size of the environment that a program lies in, if it is one of its own."""
    place = Path(program).absolute().parents[1]
    return size_mb(place.resolve()) if (place / "pyvenv.cfg").is_file() else None


def _shared_data() -> Path | None:
    folder = Path(os.environ.get("DFER_SHARED_DATA", ROOT.parent / "shared" / "data"))
    return folder if folder.is_dir() else None


if __name__ == "__main__":
    sys.exit(main())
