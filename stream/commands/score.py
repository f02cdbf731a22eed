"""``dfer-stream score``: arguments, and the run from paths to rows."""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from engine.console import Exit, stoppable
from engine.settings import as_text, values_of
from engine.settings.arguments import count
from stream.config import Settings, add_flags, load_settings
from stream.offline import ScoreError
from stream.offline.cluster.address import connect, find_cluster
from stream.offline.cluster.scoring import ClusterExecutor, ScoreRequest, score_task
from stream.offline.dataset.manifest import ROWS, Manifest
from stream.offline.dataset.run import DatasetRun, Executor, LocalExecutor
from stream.offline.inputs import Item, plan
from stream.offline.journal import GrowingRows, Journal, unfinished, work_folder
from stream.offline.pool.protocol import Ready
from stream.offline.pool.workers import Task, Workers
from stream.offline.progress import Bar
from stream.offline.protocol import Order, Scored, Setup
from stream.offline.report import Report
from stream.offline.storage import Store, is_url
from stream.offline.table import FORMATS, check_format, finish

ROWS_VERSION = 1
"""Goes up when the same files would give other rows."""
MOST_JOBS = 4
_IRRELEVANT = ("source.name", "source.uri", "camera.", "publish.", "model.bundle", "model.engine", "model.threads")
"""Settings that do not change a score; which model it is, its hash says."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``dfer-stream score``."""
    parser.add_argument(
        "paths", nargs="+", metavar="PATH", help="video, folder of videos, folder of frames, image, zip"
    )
    parser.add_argument("--faces", action="store_true", help="images are crops of one face each: detect nothing")
    parser.add_argument(
        "--align",
        choices=("landmarks", "none"),
        default="landmarks",
        help="with --faces: bring each crop to the model's own geometry by its landmarks, where they are found, or "
        "scale the whole image (default: %(default)s)",
    )
    parser.add_argument("--format", choices=FORMATS, help="of the rows (default: as --out ends, else jsonl)")
    parser.add_argument("--out", metavar="FILE", help="where to; - is standard output (default: scores.FORMAT)")
    parser.add_argument(
        "--dataset",
        metavar="DIR",
        help="for archives: rows as one Parquet data set in DIR/rows, what became of each input in "
        "DIR/inputs.parquet; a folder, s3://… or gs://… (PATHs may be too); with --resume only what is new is scored",
    )
    parser.add_argument(
        "--ray",
        metavar="HOST:PORT",
        help="with --dataset: score on every core of this Ray cluster, whose nodes see PATHs and DIR under the same "
        "names; auto is the one that this machine is part of, and this machine alone where there is none",
    )
    parser.add_argument(
        "--annotate", type=Path, metavar="DIR", help="also write each video with what was found drawn in"
    )
    parser.add_argument("--timeline", type=Path, metavar="DIR", help="also draw each video's scores over time")
    parser.add_argument(
        "--jobs", type=count(64), metavar="N", help="items scored at once (default: one per core, at most 4)"
    )
    parser.add_argument("--fps", type=float, help="frames per second of folders of frames (default: 25)")
    parser.add_argument("--quiet", action="store_true", help="print nothing but what could not be scored")
    again = parser.add_mutually_exclusive_group()
    again.add_argument("--resume", action="store_true", help="go on with the unfinished run of the same output")
    again.add_argument("--overwrite", action="store_true", help="begin anew, whatever stands at the output")
    add_flags(parser, ("source", "faces", "model", "scores"))


def run(args: argparse.Namespace) -> int:
    """Score everything; ``PARTLY`` where something could not be scored."""
    return _Run(args).run()


class _Run:
    def __init__(self, args: argparse.Namespace) -> None:
        self._args = args
        self._settings = _settings(args)
        self._dataset = _dataset(args)
        self._kind, self._out = ("parquet", None) if self._dataset else _output(args)
        check_format(self._kind)
        if self._out is None and not self._dataset and (args.resume or args.overwrite):
            raise ScoreError("--resume and --overwrite need a file", "give --out FILE")
        self._report = Report(args.quiet, self._out is None and not self._dataset)

    def run(self) -> int:
        if self._out is not None and self._out.exists() and not self._args.overwrite:
            if not self._args.resume:
                more = "--resume goes on with its unfinished run, " if unfinished(self._out) else ""
                raise ScoreError(f"{self._out} exists", f"{more}--overwrite replaces it, or choose another --out")
            if not unfinished(self._out):
                self._report.say(f"{self._out} is finished: nothing to resume (for other files choose another --out)")
                return Exit.DONE
        planned = plan(self._args.paths, self._args.faces)
        self._report.begin(planned)
        if planned.items:
            self._score(planned.items)
        self._report.left_out(planned.left_out)
        return self._report.exit

    def _score(self, items: list[Item]) -> None:
        began_ns = time.monotonic_ns()
        if self._dataset:
            model, where = self._to_dataset(items, self._dataset)
        else:
            workers = Workers(self._task(jobs := self._jobs(items)), jobs)
            try:
                if self._out is None:
                    self._to_stdout(items, workers)
                else:
                    self._to_file(items, workers, self._out)
            finally:
                workers.close()
            model, where = workers.ready, str(self._out or "")
        self._report.summary((time.monotonic_ns() - began_ns) / 1e9, model, where)

    def _jobs(self, items: Sequence[Item]) -> int:
        return min(self._args.jobs or min(os.cpu_count() or 1, MOST_JOBS), len(items))

    def _task(self, jobs: int) -> Task[Order, Scored]:
        return score_task(self._setup(jobs))

    def _setup(self, jobs: int) -> Setup:
        return Setup(_texts(_shared(self._settings, jobs)), self._args.align == "landmarks")

    def _to_stdout(self, items: list[Item], workers: Workers[Order, Scored]) -> None:
        with tempfile.TemporaryDirectory(prefix="dfer-score-") as folder, Bar(len(items), 0, self._args.quiet) as bar:
            rows = GrowingRows(sys.stdout.buffer)
            orders = self._orders(items, Path(folder))
            for order, scored in workers.in_order(orders, bar.under_way, lambda order: rows.follow(Path(order.part))):
                rows.follow(Path(order.part))
                Path(order.part).unlink()
                self._report.finished(order.item, scored.rows, scored.problems, scored.media_s, bar)

    def _to_file(self, items: list[Item], workers: Workers[Order, Scored], out: Path) -> None:
        journal = Journal(out, self._fingerprint(workers.ready), items, self._args.overwrite)
        try:
            left = [item for item in items if item.key not in journal.done]
            with Bar(len(items), len(journal.done), self._args.quiet) as bar:
                if journal.done:
                    self._report.say(f"going on: {len(journal.done)} of {len(items)} items were scored before")
                for item in items:
                    if (done := journal.done.get(item.key)) is not None:
                        self._report.judge(item, done.rows, done.problems, bar)
                orders = self._orders(left, journal.folder)
                with stoppable(lambda: _left(out, journal, len(items))):
                    for order, scored in workers.in_order(
                        orders, bar.under_way, lambda order: journal.follow(Path(order.part))
                    ):
                        journal.commit(order.item, Path(order.part), scored.rows, scored.problems, scored.media_s)
                        self._report.finished(order.item, scored.rows, scored.problems, scored.media_s, bar)
            finish(journal.rows, out, self._kind, workers.ready.labels)
            journal.complete()
        finally:
            journal.close()

    def _to_dataset(self, items: list[Item], url: str) -> tuple[Ready, str]:
        with (
            closing(Manifest(Store(url), self._args.resume, self._args.overwrite)) as manifest,
            tempfile.TemporaryDirectory(prefix="dfer-score-") as folder,
            closing(self._executor(items, Path(folder), url)) as executor,
        ):
            DatasetRun(items, manifest, self._fingerprint, self._report).score(executor)
            return executor.ready, manifest.store.join(ROWS)

    def _executor(self, items: list[Item], folder: Path, url: str) -> Executor:
        found = None if self._args.ray is None else find_cluster(self._args.ray)
        if found is None:
            if self._args.ray is not None:
                self._report.say("no Ray cluster is running here: scoring on this machine alone")
            return LocalExecutor(self._task(jobs := self._jobs(items)), jobs, folder)
        ray = connect(found)
        # An actor has one core, on whatever machine.
        return ClusterExecutor(ray, ScoreRequest(self._setup(os.cpu_count() or 1), url), self._args.jobs, len(items))

    def _orders(self, items: Sequence[Item], folder: Path) -> list[Order]:
        names = _picture_names(items) if self._args.annotate or self._args.timeline else {}
        for target in (self._args.annotate, self._args.timeline):
            if target is not None:
                target.mkdir(parents=True, exist_ok=True)
        made = []
        for number, item in enumerate(items):
            name = names.get(item.key)
            made.append(
                Order(
                    number,
                    item,
                    str(folder.absolute() / f"part-{os.getpid()}-{number}.jsonl"),
                    str(self._args.annotate / f"{name}.mp4") if name and self._args.annotate else None,
                    str(self._args.timeline / f"{name}.png") if name and self._args.timeline else None,
                )
            )
        return made

    def _fingerprint(self, model: Ready) -> str:
        facts = {
            "rows": ROWS_VERSION,
            "model": model.sha256,
            "backend": model.backend,
            "precision": model.precision,
            "faces": self._args.faces,
            "align": self._args.align if self._args.faces else None,
            "fps": self._settings.camera.fps,
            "format": self._kind,
            "settings": {k: v for k, v in _texts(self._settings).items() if not k.startswith(_IRRELEVANT)},
        }
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _left(out: Path, journal: Journal, total: int) -> str:
    """What Ctrl-C leaves, and how to go on."""
    scored = len(journal.done) + journal.commits
    return f"stopped with {scored} of {total} items scored; the same command with --resume goes on ({work_folder(out)})"


def _settings(args: argparse.Namespace) -> Settings:
    settings = load_settings(args, several=True).settings
    fps = args.fps if args.fps is not None else settings.camera.fps
    # Reading a file has no deadline, and its scores must not depend on how fast this machine is.
    camera = dataclasses.replace(settings.camera, every_frame=True, fps=fps)
    return dataclasses.replace(settings, camera=camera)


def _shared(settings: Settings, jobs: int) -> Settings:
    """Cores are shared out between jobs, unless the number of threads was set."""
    if jobs == 1 or settings.model.threads is not None:
        return settings
    threads = max((os.cpu_count() or 1) // jobs, 1)
    return dataclasses.replace(settings, model=dataclasses.replace(settings.model, threads=threads))


def _texts(settings: Settings) -> dict[str, str]:
    """Every setting as a flag would give it."""
    return {key: as_text(value) for key, value in values_of(settings).items() if key not in Settings.HIDDEN}


def _output(args: argparse.Namespace) -> tuple[str, Path | None]:
    """Format and path of the output; no path for standard output.

    Raises:
        ScoreError: If they do not go together.
    """
    if args.out == "-":
        if args.format not in (None, "jsonl"):
            raise ScoreError(f"--out - writes jsonl as it comes, not {args.format}", "give --out FILE")
        return "jsonl", None
    if args.out is None:
        kind = args.format or "jsonl"
        return kind, Path(f"scores.{kind}")
    out = Path(args.out)
    if out.is_dir():
        raise ScoreError(f"{out} is a folder", f"give --out a file's name, such as {out / 'scores.jsonl'}")
    if not out.parent.is_dir():
        raise ScoreError(f"the folder {out.parent} does not exist", "make it, or choose another --out")
    named = out.suffix.lower().lstrip(".")
    return args.format or (named if named in FORMATS else "jsonl"), out


def _dataset(args: argparse.Namespace) -> str | None:
    """Where the data set goes, if one is wanted.

    Raises:
        ScoreError: If it does not go with the other flags.
    """
    if args.dataset is None:
        if args.ray is not None:
            raise ScoreError("--ray scores into a data set, which every node can write", "give --dataset DIR")
        if any(is_url(path) and not path.startswith("file://") for path in args.paths):
            raise ScoreError("files of an object store are scored into a data set", "give --dataset DIR")
        return None
    for flag in ("out", "format", "annotate", "timeline"):
        if getattr(args, flag) is not None:
            raise ScoreError(f"--{flag} does not go with --dataset", "leave out one of them")
    return str(args.dataset)


def _picture_names(items: Sequence[Item]) -> dict[str, str]:
    """A file name for each video's pictures: its own, with a number where two share one."""
    taken: set[str] = set()
    names: dict[str, str] = {}
    for item in items:
        if item.kind == "video":
            own = Path(item.path).absolute().name
            name, count = own, 1
            while name in taken:
                count += 1
                name = f"{own}-{count}"
            taken.add(name)
            names[item.key] = name
    return names
