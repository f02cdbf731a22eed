"""What a run shows: a rich progress bar and TensorBoard curves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
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
        best: Best validation figure of a run that is taken up, below 0 where there is none.
    """

    def __init__(self, out: Path, progress: Progress, first_step: int, best: float = -1.0) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(out / "tensorboard"), purge_step=first_step)
        self._progress = progress
        self._task: TaskID = progress.add_task("", total=None, loss="", rate="", best=_best(best))
        self._done = first_step
        self._loss: float | None = None
        self._rate = 0.0

    def epoch(self, epoch: int, epochs: int, step: int, steps: int) -> None:
        """Show which epoch it is; the bar and what remains are of the whole run."""
        self._progress.update(
            self._task, total=epochs * steps, completed=epoch * steps + step, description=f"epoch {epoch + 1}/{epochs}"
        )

    def step(self, done: int, terms: Mapping[str, float], rate: float) -> None:
        """Advance the bar, add points."""
        self._done, self._rate = done, rate
        total = terms["total"]
        self._loss = total if self._loss is None else 0.9 * self._loss + 0.1 * total
        self._progress.update(self._task, advance=1, loss=f"loss {self._loss:.4f}", rate=f"rate {rate:.1e}")
        for name, value in terms.items():
            self._writer.add_scalar(f"train/{name}", value, done)
        self._writer.add_scalar("train/lr", rate, done)

    def end_epoch(self, row: Mapping[str, Any], better: bool) -> None:
        """Print the epoch's line."""
        text = f"epoch {row['epoch'] + 1}: loss {row['loss_total']:.4f}  rate {self._rate:.1e}"
        for name in ("war", "uar"):
            if name in row:
                self._writer.add_scalar(f"validation/{name}", row[name], self._done)
                text += f"  {name.upper()} {100 * row[name]:.2f}"
        if "clips" in row:
            text += f" of {row['clips']} clips"
        left = self._progress.tasks[0].time_remaining
        if left:
            text += f"  {timedelta(seconds=round(left))} left"
        if better:
            self._progress.update(self._task, best=f"best in epoch {row['epoch'] + 1}")
            text += "  best so far"
        self._progress.console.print(text, highlight=False)
        self._writer.flush()

    def close(self) -> None:
        """Flush the curves."""
        self._writer.close()


def _best(figure: float) -> str:
    return f"best {100 * figure:.2f}" if figure >= 0 else ""


@contextmanager
def display(out: Path, first_step: int, console: Console | None = None, best: float = -1.0) -> Iterator[Display]:
    """A display for one run; says where its curves are."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
               *(TextColumn(f"{{task.fields[{name}]}}") for name in ("loss", "rate", "best")))  # fmt: skip
    with Progress(*columns, console=console or Console(stderr=True), transient=True) as progress:
        progress.console.print(
            f"curves: tensorboard --logdir {out / 'tensorboard'}; figures of every epoch: {out / 'history.json'}",
            highlight=False, soft_wrap=True,
        )  # fmt: skip
        shown = Display(out, progress, first_step, best)
        try:
            yield shown
        finally:
            shown.close()
