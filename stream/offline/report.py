"""What a run of ``score`` says: each problem as it comes, all of them at the end, and the sum."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TextIO

from engine.console import Exit
from engine.text import say
from stream.offline.inputs import Item, Plan, Problem
from stream.offline.pool.protocol import Ready
from stream.offline.progress import Bar


class Report:
    """Counts and tells.

    Args:
        quiet: Say nothing but what could not be scored.
        rows_on_stdout: Standard output is the rows' own.
    """

    def __init__(self, quiet: bool, rows_on_stdout: bool) -> None:
        self.quiet = quiet
        self._to: TextIO = sys.stderr if rows_on_stdout else sys.stdout
        self._unused: list[Problem] = []
        self._failed = False
        self._roots: dict[str, bool] = {}
        self._rows = self._images = 0
        self._media_s = 0.0

    @property
    def exit(self) -> Exit:
        """In part where something named failed, or a folder of which nothing at all could be scored."""
        return Exit.PARTLY if self._failed or not all(self._roots.values()) else Exit.DONE

    def say(self, line: str) -> None:
        """One line for people."""
        if not self.quiet:
            say(line, self._to)

    def begin(self, plan: Plan) -> None:
        """What of the paths themselves cannot be used."""
        for problem in plan.problems:
            self._complain(problem, None)
        self._failed = bool(plan.problems)

    def judge(self, item: Item, rows: int, problems: Sequence[Problem], bar: Bar) -> None:
        """Say what is wrong with an item, and whether that makes this run one that was done in part."""
        for problem in problems:
            self._complain(problem, bar)
        self._rows += rows
        if not item.root:
            self._failed |= bool(problems)
        else:
            self._roots[item.root] = self._roots.get(item.root, False) or bool(rows) or not problems

    def finished(self, item: Item, rows: int, problems: Sequence[Problem], media_s: float, bar: Bar) -> None:
        """An item was scored."""
        self.judge(item, rows, problems, bar)
        self._media_s += media_s
        self._images += len(item.names)
        bar.finished(media_s, len(item.names))

    def left_out(self, left_out: Sequence[Problem]) -> None:
        """What was not used, once more and together: what scrolled by, and what nobody asked for by name."""
        if unused := [*self._unused, *left_out]:
            self.say(f"not used, or not whole: {len(unused)}")
            for problem in unused:
                self.say(f"  {problem.path}: {problem.reason}")

    def summary(self, took_s: float, model: Ready, where: str) -> None:
        """What was done, how fast, by which model, and where it lies."""
        what = []
        if self._media_s:
            what.append(f"{self._media_s:.1f} s of video in {took_s:.1f} s ({self._media_s / took_s:.1f}× real time)")
        if self._images:
            what.append(f"{self._images} images in {took_s:.1f} s ({self._images / took_s:.0f}/s)")
        failed = f"; {len(self._unused)} could not be scored" if self._unused else ""
        how = f"{model.name}, {model.backend} {model.precision}"
        to = f" → {where}" if where else ""
        self.say(f"{self._rows} rows{''.join(', ' + part for part in what)}, {how}{failed}{to}")

    def _complain(self, problem: Problem, bar: Bar | None) -> None:
        self._unused.append(problem)
        line = f"dfer-stream score: {problem.path}: {problem.reason}"
        if bar is not None:
            bar.say(line)
        else:
            say(line)
