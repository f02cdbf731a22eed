"""How far a run is: a bar on a terminal, nothing elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

from engine.text import printable, say


class _Amount(ProgressColumn):
    """Items done, and how fast: times real time for videos, images per second."""

    def render(self, task: Task) -> Text:
        text = f"{int(task.completed)}/{int(task.total or 0)}"
        elapsed = task.elapsed or 0.0
        if elapsed > 1 and task.fields["media_s"] > 0:
            text += f"  {task.fields['media_s'] / elapsed:.1f}× real time"
        elif elapsed > 1 and task.fields["images"] > 0:
            text += f"  {task.fields['images'] / elapsed:.0f} images/s"
        return Text(text)


class Bar:
    """The progress bar on standard error, if that is a terminal.

    Args:
        total: Items in all.
        done: Items scored by an earlier run.
        quiet: No bar even on a terminal.
    """

    def __init__(self, total: int, done: int = 0, quiet: bool = False) -> None:
        self._console = Console(stderr=True)
        self._shown = sys.stderr.isatty() and not quiet
        self._done, self._media_s, self._images = done, 0.0, 0
        self._progress = Progress(
            TextColumn("scoring"), BarColumn(), _Amount(), TimeElapsedColumn(), TimeRemainingColumn(),
            console=self._console, disable=not self._shown, transient=True,
        )  # fmt: skip
        self._task = self._progress.add_task("score", total=total, completed=done, media_s=0.0, images=0)

    def __enter__(self) -> Bar:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def under_way(self, shares: Mapping[int, float]) -> None:
        """Show what share of each item under way is done."""
        self._progress.update(self._task, completed=self._done + sum(shares.values()))

    def finished(self, media_s: float, images: int) -> None:
        """An item is done: so long a video, or so many images."""
        self._done += 1
        self._media_s += media_s
        self._images += images
        self._progress.update(self._task, completed=self._done, media_s=self._media_s, images=self._images)

    def say(self, line: str) -> None:
        """One line on standard error, above the bar."""
        if self._shown:
            self._console.print(printable(line), markup=False, highlight=False, soft_wrap=True)
        else:
            say(line)
