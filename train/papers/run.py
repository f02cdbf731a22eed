"""``dfer-train table N``: an ablation table of a paper, run over a data set and printed beside the paper's figures."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table as Grid

from calibration.metrics import mean_and_sd
from engine.files import write_text
from engine.settings import Layer
from engine.spec import SEVEN_CLASSES
from train.evaluation.evaluate import influence_scores
from train.evaluation.heldout import predict_run
from train.papers.tables import Row, Table
from train.recipes import read_config
from train.settings import RunConfig
from train.training.distributed import Processes
from train.training.fit import fit

_CAPTION = "classes: accuracy in the paper/here"


@dataclass(frozen=True)
class Measured:
    """A row as measured here, per cent.

    Attributes:
        row: The paper's row.
        uar: Per fold.
        war: Per fold.
        recall: By class, per fold that has it.
    """

    row: Row
    uar: tuple[float, ...]
    war: tuple[float, ...]
    recall: Mapping[str, tuple[float, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class _Tested:
    """A run on its test part, shares; ``recall`` by class, without those that do not occur there."""

    uar: float
    war: float
    clips: int
    recall: Mapping[str, float] = field(default_factory=dict)


def row_config(table: Table, row: Row, fold: int, base: Mapping[str, Any], flags: Sequence[str]) -> RunConfig:
    """The run of one row and fold.

    Args:
        table: The table.
        row: Its row.
        fold: From 1.
        base: Nested settings of data, encoder and weights, over the recipe.
        flags: Assignments that win over all but the row's options.
    """
    own = {"model": {"name": table.model, "encoder": row.encoder or table.encoder}, "data": {"fold": fold}}
    below = [Layer(base, "the command line"), Layer(own, f"table {table.number} of {table.model}")]
    config = read_config(assignments=flags, below=below)
    options = {**config.model.options, **row.options}
    return dataclasses.replace(config, model=dataclasses.replace(config.model, options=options))


def run_table(
    table: Table,
    base: Mapping[str, Any],
    flags: Sequence[str],
    out: Path,
    processes: Processes,
    folds: Sequence[int] | None = None,
    only: Sequence[str] = (),
    say: Callable[[str], None] = print,
) -> list[Measured]:
    """Train and test every row that is not quoted; finished rows are taken from `out`, broken ones resumed.

    Args:
        table: The table.
        base: Nested settings over the recipe.
        flags: Assignments.
        out: A folder per configuration and fold.
        processes: This process among all.
        folds: Other folds than the paper's.
        only: Run rows whose name contains one of these; all if empty.
        say: Where lines of progress go.

    Returns:
        The rows run, in order.
    """
    measured = []
    for row in table.rows:
        if not row.run or (only and not any(word in row.name for word in only)):
            continue
        found: list[_Tested] = []
        for fold in folds or table.folds:
            config = row_config(table, row, fold, base, flags)
            folder = out / f"{_slug(config)}-fold{fold}"
            result = _tested(config, folder, processes, row, say)
            found.append(result)
            say(f"{row.name}, fold {fold}: UAR {100 * result.uar:.2f} WAR {100 * result.war:.2f}")
        recall = {name: tuple(100 * one.recall[name] for one in found if name in one.recall) for name in SEVEN_CLASSES}
        measured.append(Measured(row, tuple(100 * r.uar for r in found), tuple(100 * r.war for r in found), recall))
    return measured


def _tested(config: RunConfig, folder: Path, processes: Processes, row: Row, say: Callable[[str], None]) -> _Tested:
    """Figures of one run on its test part, trained where that is not done yet."""
    name = "result.json" if row.influence is None else f"result-{row.influence[0]}-{row.influence[1]}.json"
    note = folder / name
    if note.is_file():
        return _Tested(**json.loads(note.read_text("utf-8")))
    done = folder / "trained"
    if not done.is_file():
        say(f"training {folder.name}")
        run = fit(config, folder, processes, resume=True, quiet=not processes.first)
        if run.interrupted:
            raise KeyboardInterrupt
        if processes.first:
            write_text(done, "")
        processes.wait()
    found = predict_run(folder, processes.device)
    scores = found.scores() if row.influence is None else influence_scores(found)[row.influence]
    recall = {n: r for n, r in zip(scores.labels, scores.recall, strict=True) if n not in scores.absent}
    result = _Tested(scores.uar, scores.war, len(found.target), recall)
    if processes.first:
        write_text(note, json.dumps(dataclasses.asdict(result)))
    return result


def _slug(config: RunConfig) -> str:
    import hashlib

    values = config.to_dict()
    for key in ("fold", "workers", "verify"):
        values["data"].pop(key)
    digest = hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()[:10]
    return f"{config.model.name}-{config.model.encoder}-{digest}"


def print_table(table: Table, measured: Sequence[Measured], console: Console, where: str) -> None:
    """Print measured rows beside the paper's.

    Args:
        table: The table.
        measured: Rows that were run.
        console: Where to.
        where: The data they were run on, for the headline; synthetic data is named so.
    """
    by_class = any(row.recall for row in table.rows)
    grid = Grid(title=f"{table.model}, Table {table.number}: {table.title}", caption=_CAPTION if by_class else None)
    grid.add_column("row")
    for head in (f"UAR paper ({table.dataset})", "WAR paper", f"UAR here ({where})", "WAR here"):
        grid.add_column(head, justify="right")
    for name in SEVEN_CLASSES if by_class else ():
        grid.add_column(name[:3], justify="right")
    by_name = {m.row.name: m for m in measured}
    for row in table.rows:
        paper = [f"{v:.2f}" if v is not None else "–" for v in (row.uar, row.war)]
        here = by_name.get(row.name)
        ours = [_cell(here.uar), _cell(here.war)] if here else ["quoted" if not row.run else "not run"] * 2
        each = [_class_cell(row, here, number) for number in range(len(SEVEN_CLASSES))] if by_class else []
        grid.add_row(row.name, *paper, *ours, *each)
    console.print(grid)


def _class_cell(row: Row, here: Measured | None, number: int) -> str:
    values = here.recall.get(SEVEN_CLASSES[number], ()) if here else ()
    paper = f"{row.recall[number]:.2f}" if row.recall else ""
    return paper + (f"/{mean_and_sd(values)[0]:.2f}" if values else "")


def _cell(values: Sequence[float]) -> str:
    mean, deviation = mean_and_sd(values)
    return f"{mean:.2f}" if len(values) == 1 else f"{mean:.2f} ± {deviation:.2f}"
