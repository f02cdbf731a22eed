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
from pathlib import Path

from engine.console import Exit, stoppable
from engine.settings import as_text, values_of
from engine.settings.arguments import count
from engine.text import say
from stream.config import Settings, add_flags, load_settings
from stream.offline import ScoreError
from stream.offline.inputs import Item, Problem, plan
from stream.offline.journal import GrowingRows, Journal, unfinished, work_folder
from stream.offline.progress import Bar
from stream.offline.protocol import Order, Ready, Scored, Setup
from stream.offline.rows import FORMATS, check_format, finish
from stream.offline.workers import Workers

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
        self._kind, self._out = _output(args)
        check_format(self._kind)
        if self._out is None and (args.resume or args.overwrite):
            raise ScoreError("--resume and --overwrite need a file", "give --out FILE")
        self._unused: list[Problem] = []
        self._failed = False
        self._roots: dict[str, bool] = {}
        self._rows = self._images = 0
        self._media_s = 0.0

    def run(self) -> int:
        if self._out is not None and self._out.exists() and not self._args.overwrite:
            if not self._args.resume:
                more = "--resume goes on with its unfinished run, " if unfinished(self._out) else ""
                raise ScoreError(f"{self._out} exists", f"{more}--overwrite replaces it, or choose another --out")
            if not unfinished(self._out):
                self._say(f"{self._out} is finished: nothing to resume (for other files choose another --out)")
                return Exit.DONE
        planned = plan(self._args.paths, self._args.faces)
        for problem in planned.problems:
            self._complain(problem, None)
        self._failed = bool(planned.problems)
        if planned.items:
            self._score(planned.items)
        self._report_unused(planned.left_out)
        # A folder of which nothing at all could be scored failed as a whole.
        return Exit.PARTLY if self._failed or not all(self._roots.values()) else Exit.DONE

    def _report_unused(self, left_out: Sequence[Problem]) -> None:
        """What was not used, once more and together: what scrolled by, and what nobody asked for by name."""
        if unused := [*self._unused, *left_out]:
            self._say(f"not used, or not whole: {len(unused)}")
            for problem in unused:
                self._say(f"  {problem.path}: {problem.reason}")

    def _score(self, items: list[Item]) -> None:
        began_ns = time.monotonic_ns()
        jobs = min(self._args.jobs or min(os.cpu_count() or 1, MOST_JOBS), len(items))
        setup = Setup(_texts(_shared(self._settings, jobs)), self._args.align == "landmarks")
        workers = Workers(setup, jobs)
        try:
            if self._out is None:
                self._to_stdout(items, workers)
            else:
                self._to_file(items, workers, self._out)
        finally:
            workers.close()
        self._summary((time.monotonic_ns() - began_ns) / 1e9, len(items), workers.model)

    def _to_stdout(self, items: list[Item], workers: Workers) -> None:
        with tempfile.TemporaryDirectory(prefix="dfer-score-") as folder, Bar(len(items), 0, self._args.quiet) as bar:
            rows = GrowingRows(sys.stdout.buffer)
            for order, scored in workers.score(self._orders(items, Path(folder)), bar.under_way, rows.follow):
                rows.follow(Path(order.part))
                Path(order.part).unlink()
                self._count(order.item, scored, bar)

    def _to_file(self, items: list[Item], workers: Workers, out: Path) -> None:
        journal = Journal(out, self._fingerprint(workers.model), items, self._args.overwrite)
        try:
            left = [item for item in items if item.key not in journal.done]
            with Bar(len(items), len(journal.done), self._args.quiet) as bar:
                if journal.done:
                    self._say(f"going on: {len(journal.done)} of {len(items)} items were scored before")
                for item in items:
                    if (done := journal.done.get(item.key)) is not None:
                        self._judge(item, done.rows, done.problems, bar)
                orders = self._orders(left, journal.folder)
                with stoppable(lambda: _left(out, journal, len(items))):
                    for order, scored in workers.score(orders, bar.under_way, journal.follow):
                        journal.commit(order.item, Path(order.part), scored.rows, scored.problems, scored.media_s)
                        self._count(order.item, scored, bar)
            finish(journal.rows, out, self._kind, workers.model.labels)
            journal.complete()
        finally:
            journal.close()

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

    def _count(self, item: Item, scored: Scored, bar: Bar) -> None:
        self._judge(item, scored.rows, scored.problems, bar)
        self._media_s += scored.media_s
        self._images += len(item.names)
        bar.finished(scored.media_s, len(item.names))

    def _judge(self, item: Item, rows: int, problems: Sequence[Problem], bar: Bar) -> None:
        """Say what is wrong with an item, and whether that makes this run one that was done in part."""
        for problem in problems:
            self._complain(problem, bar)
        self._rows += rows
        if not item.root:
            self._failed |= bool(problems)
        else:
            self._roots[item.root] = self._roots.get(item.root, False) or bool(rows) or not problems

    def _complain(self, problem: Problem, bar: Bar | None) -> None:
        self._unused.append(problem)
        line = f"dfer-stream score: {problem.path}: {problem.reason}"
        if bar is not None:
            bar.say(line)
        else:
            say(line)

    def _say(self, line: str) -> None:
        if not self._args.quiet:
            say(line, sys.stderr if self._out is None else sys.stdout)

    def _summary(self, took_s: float, items: int, model: Ready) -> None:
        what = []
        if self._media_s:
            what.append(f"{self._media_s:.1f} s of video in {took_s:.1f} s ({self._media_s / took_s:.1f}× real time)")
        if self._images:
            what.append(f"{self._images} images in {took_s:.1f} s ({self._images / took_s:.0f}/s)")
        failed = f"; {len(self._unused)} could not be scored" if self._unused else ""
        where = "" if self._out is None else f" → {self._out}"
        how = f"{model.name}, {model.backend} {model.precision}"
        self._say(f"{self._rows} rows{''.join(', ' + part for part in what)}, {how}{failed}{where}")


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
