"""What a run shows: a rich progress bar and TensorBoard curves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn


class Reporter:
    """Shows nothing: the base, and what processes other than the first use."""

    def epoch(self, epoch: int, epochs: int, step: int, steps: int) -> None:
        """An epoch begins or is taken up at a step."""

    def step(self, done: int, terms: Mapping[str, float], rate: float) -> None:
        """An optimizer step is done; `done` counts from the start of the run."""

    def end_epoch(self, row: Mapping[str, Any], better: bool) -> None:
        """An epoch is over."""


class Display(Reporter):
    """A progress bar on the terminal and curves in ``<out>/tensorboard``.

    Args:
        out: The run's folder.
        progress: The bar.
        first_step: Steps done before this start: later TensorBoard points of a killed run are dropped.
    """

    def __init__(self, out: Path, progress: Progress, first_step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(out / "tensorboard"), purge_step=first_step)
        self._progress = progress
        self._task: TaskID = progress.add_task("", total=None, loss="")
        self._done = first_step
        self._loss: float | None = None

    def epoch(self, epoch: int, epochs: int, step: int, steps: int) -> None:
        """Restart the bar."""
        self._progress.reset(
            self._task, total=steps, completed=step, description=f"epoch {epoch + 1}/{epochs}", loss=""
        )

    def step(self, done: int, terms: Mapping[str, float], rate: float) -> None:
        """Advance the bar, add points."""
        self._done = done
        total = terms["total"]
        self._loss = total if self._loss is None else 0.9 * self._loss + 0.1 * total
        self._progress.update(self._task, advance=1, loss=f"loss {self._loss:.4f}")
        for name, value in terms.items():
            self._writer.add_scalar(f"train/{name}", value, done)
        self._writer.add_scalar("train/lr", rate, done)

    def end_epoch(self, row: Mapping[str, Any], better: bool) -> None:
        """Print the epoch's line."""
        text = f"epoch {row['epoch'] + 1}: loss {row['loss_total']:.4f}"
        for name in ("war", "uar"):
            if name in row:
                self._writer.add_scalar(f"validation/{name}", row[name], self._done)
                text += f"  {name.upper()} {100 * row[name]:.2f}"
        self._progress.console.print(text + ("  best so far" if better else ""), highlight=False)
        self._writer.flush()

    def close(self) -> None:
        """Flush the curves."""
        self._writer.close()


@contextmanager
def display(out: Path, first_step: int, console: Console | None = None) -> Iterator[Display]:
    """A display for one run."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
               TextColumn("{task.fields[loss]}"))  # fmt: skip
    with Progress(*columns, console=console or Console(stderr=True), transient=True) as progress:
        shown = Display(out, progress, first_step)
        try:
            yield shown
        finally:
            shown.close()
