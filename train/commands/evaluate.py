"""``dfer-train evaluate``: every run, both of its weights where it has them, and one report."""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import Progress

from engine.console import Exit
from engine.files import write_text
from engine.settings import Layer, load
from train.commands.arguments import add_data_arguments, add_device_argument
from train.settings import DataSettings, RunConfig

if TYPE_CHECKING:
    import torch

    from train.data.dataset import ClipDataset
    from train.evaluation.evaluate import Evaluation


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "runs", nargs="+", type=Path, metavar="RUN", help="run folders; several are folds of one experiment"
    )
    add_data_arguments(parser)
    parser.add_argument("--fold", type=int, help="fold of another data set")
    parser.add_argument(
        "--weights", choices=("best", "last"), help="default: what the run selects, and the other beside it"
    )
    parser.add_argument("--no-audit", action="store_true", help="leave out the temporal audit (three passes more)")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--report", type=Path, help="HTML file; default report.html in the first run")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    add_device_argument(parser)


@dataclass(frozen=True)
class _Shown:
    """A run on the page: its configuration, the weights it selects, their figures and clips."""

    config: RunConfig
    weights: str
    result: Evaluation
    dataset: ClipDataset


def run(arguments: argparse.Namespace) -> int:
    """Evaluate, leave figures in each run's folder and write the page, which shows the first run in full."""
    from train.evaluation.evaluate import over_folds
    from train.evaluation.report import html_report
    from train.training.distributed import processes

    console = Console(stderr=True)
    shown: list[_Shown] = []
    figures: dict[str, Any] = {}
    with processes(arguments.device) as mine:
        for folder in arguments.runs:
            shown.append(_evaluate_run(arguments, folder, mine.device, console, figures))
    folds = over_folds([one.result.scores for one in shown]) if len(shown) > 1 else None
    if folds is not None:
        console.print(folds.text(), highlight=False)
        figures["folds"] = {"war": folds.war, "uar": folds.uar, "folds": folds.folds}
    first = shown[0]
    facts = _facts(arguments, first)
    page = arguments.report or arguments.runs[0] / "report.html"
    title = f"{facts['model']} on {facts['data']}"
    runs = [(str(folder), one.result.scores) for folder, one in zip(arguments.runs, shown, strict=True)]
    write_text(page, html_report(first.result, title, facts, first.dataset, folds, _notes(first.config), runs=runs))
    print(json.dumps(figures, indent=1) if arguments.json else page)
    return Exit.DONE


def _evaluate_run(
    arguments: argparse.Namespace, folder: Path, device: torch.device, console: Console, figures: dict[str, Any]
) -> _Shown:
    """Figures of a run's weights, added to `figures` and left in its folder; what is shown are those it selects."""
    from train.evaluation.evaluate import evaluate
    from train.evaluation.heldout import heldout_clips
    from train.training.fit import load_run, read_run, selected_weights

    config = read_run(folder)
    chosen = f"{arguments.weights}.safetensors" if arguments.weights else selected_weights(config)
    shown: _Shown | None = None
    for name in ("best.safetensors", "last.safetensors"):
        if name != chosen and (arguments.weights or not (folder / name).exists()):
            continue
        model, _ = load_run(folder, name)
        dataset, reports = heldout_clips(config, model, _used_data(arguments, config))
        for report in reports:
            console.print(report.text(), highlight=False)
        audit = not arguments.no_audit
        with Progress(console=console, transient=True) as progress:
            task = progress.add_task(f"{folder.name} {name}", total=len(dataset) * (4 if audit else 1))
            advance = functools.partial(progress.advance, task)
            result = evaluate(model, dataset, device, arguments.batch, config.data.workers, audit, advance=advance)
        values = figures[f"{folder}/{name}"] = result.to_dict()
        if _used_data(arguments, config) == config.data:
            write_text(folder / f"evaluation-{Path(name).stem}.json", json.dumps(values, indent=1))
        mark = " (selected)" if name == chosen else ""
        console.print(f"{folder.name} {Path(name).stem}{mark}: {result.scores.text()}", highlight=False)
        if name == chosen:
            shown = _Shown(config, chosen, result, dataset)
    assert shown is not None
    return shown


def _used_data(arguments: argparse.Namespace, config: RunConfig) -> DataSettings:
    """The run's data set, or another one that the arguments name."""
    given = {"source": arguments.source, "root": arguments.data, "fold": arguments.fold}
    flags = {key: str(value) for key, value in given.items() if value is not None}
    return load(DataSettings, flags=flags, below=[Layer(dataclasses.asdict(config.data), "the run")]).settings


def _facts(arguments: argparse.Namespace, shown: _Shown) -> dict[str, str]:
    config, used = shown.config, _used_data(arguments, shown.config)
    return {
        "model": f"{config.model.name}, encoder {config.model.encoder}",
        "data": f"{used.source}, fold {used.fold}, {used.split} split, test part",
        "trained on": f"{config.data.source}, fold {config.data.fold}, {config.data.split} split",
        "weights": f"{shown.weights} (selection: {config.loop.select})",
        "padding": used.padding,
    }


def _notes(config: RunConfig) -> list[str]:
    notes = []
    if config.data.source == "synthetic":
        notes.append("Synthetic clips: these figures say nothing about real faces.")
    if config.loop.select == "paper-protocol":
        notes.append("paper-protocol: the epoch was chosen on this very test part, so its figures are too high.")
    if config.data.source in ("dfew", "mafw", "ferv39k") and config.data.split == "official":
        notes.append("Official splits share identities between training and test: identity-disjoint figures are lower.")
    return notes
