"""What each command of ``dfer-train`` does, given its arguments."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress

from engine.spec import CropGeometry
from train.config import load_config, merge, read_toml
from train.data.layouts import clips as own_clips
from train.data.layouts.synthetic import SyntheticClips
from train.data.record import DataReport
from train.recipes import recipe
from train.settings import ConfigError, RunConfig
from train.training.checkpoint import write_text
from train.training.distributed import processes
from train.training.transfer import bundle_model


def fit(options: argparse.Namespace) -> int:
    """``dfer-train fit``."""
    from train.training.fit import fit as run_fit

    config = fit_config(options)
    with processes(options.device) as mine:
        result = run_fit(config, options.out, mine, options.resume, options.start_from, options.quiet)
        if result.interrupted:
            if mine.first:
                print(f"interrupted and saved: go on with --resume --out {result.out}", file=sys.stderr)
            return 130
        if mine.first:
            print(result.out / result.selected)
    return 0


def fit_config(options: argparse.Namespace) -> RunConfig:
    """The configuration of ``fit``'s arguments."""
    flags = [
        f"{key}={value}"
        for key, value in (
            ("data.source", options.source),
            ("data.root", options.data),
            ("data.fold", options.fold),
            ("model.encoder", options.encoder),
            ("model.weights", options.weights),
            ("loop.select", options.select),
        )
        if value is not None
    ]
    # What a bundle says of its model stands below the file and the flags.
    known = bundle_model(options.start_from) if options.start_from else {}
    named = (read_toml(options.config) if options.config else {}).get("model", {})
    name = options.model or named.get("name") or known.get("name") or "tg-dfer"
    pretrained = bool(options.weights or named.get("weights"))
    base = merge(recipe(name, pretrained), {"model": known} if known.get("name") == name else {})
    return load_config(options.config, [*flags, *options.set], base)


def evaluate(options: argparse.Namespace) -> int:
    """``dfer-train evaluate``: every run, both of its weights where it has them, and one report."""
    from train.evaluation.evaluate import Evaluation, over_folds
    from train.evaluation.evaluate import evaluate as measure
    from train.evaluation.heldout import heldout_clips
    from train.evaluation.report import html_report
    from train.training.fit import load_run, selected_weights

    console = Console(stderr=True)
    shown: list[tuple[Evaluation, Any]] = []
    figures: dict[str, Any] = {}
    notes: list[str] = []
    facts: dict[str, str] = {}
    with processes(options.device) as mine:
        for run in options.runs:
            _, config = load_run(run)
            chosen = f"{options.weights}.safetensors" if options.weights else selected_weights(config)
            names = (
                [chosen]
                if options.weights
                else [n for n in ("best.safetensors", "last.safetensors") if (run / n).exists()]
            )
            data = _other_data(options, config)
            for name in names:
                model, _ = load_run(run, name)
                dataset, reports = heldout_clips(config, model, data)
                for report in reports:
                    console.print(report.text(), highlight=False)
                passes = 1 if options.no_audit else 7
                with Progress(console=console, transient=True) as progress:
                    task = progress.add_task(f"{run.name} {name}", total=len(dataset) * (1 if options.no_audit else 4))
                    result = measure(
                        model, dataset, mine.device, options.batch, config.data.workers, passes > 1,
                        advance=lambda n, p=progress, t=task: p.advance(t, n),  # type: ignore[misc]
                    )  # fmt: skip
                values = result.to_dict()
                figures[f"{run}/{name}"] = values
                if data is None:
                    write_text(run / f"evaluation-{Path(name).stem}.json", json.dumps(values, indent=1))
                mark = " (selected)" if name == chosen else ""
                console.print(f"{run.name} {Path(name).stem}{mark}: {result.scores.text()}", highlight=False)
                if name == chosen:
                    shown.append((result, dataset))
            if not facts:
                # The page shows the first run in full.
                facts, notes = _facts(config, data, chosen), _notes(config)
    folds = over_folds([result.scores for result, _ in shown]) if len(shown) > 1 else None
    if folds is not None:
        console.print(folds.text(), highlight=False)
        figures["folds"] = {"war": folds.war, "uar": folds.uar, "folds": folds.folds}
    result, dataset = shown[0]
    page = options.report or options.runs[0] / "report.html"
    several = [(str(run), found.scores) for run, (found, _) in zip(options.runs, shown, strict=True)]
    title = f"{facts['model']} on {facts['data']}"
    write_text(page, html_report(result, title, facts, dataset, folds, notes, runs=several))
    print(json.dumps(figures, indent=1) if options.json else page)
    return 0


def _other_data(options: argparse.Namespace, config: RunConfig) -> Any:
    if options.source is None and options.data is None and options.fold is None:
        return None
    changes = {"source": options.source, "root": options.data, "fold": options.fold}
    return dataclasses.replace(config.data, **{k: v for k, v in changes.items() if v is not None})


def _facts(config: RunConfig, data: Any, weights: str) -> dict[str, str]:
    used = data or config.data
    return {
        "model": f"{config.model.name}, encoder {config.model.encoder}",
        "data": f"{used.source}, fold {used.fold}, {used.split} split, test part",
        "trained on": f"{config.data.source}, fold {config.data.fold}, {config.data.split} split",
        "weights": f"{weights} (selection: {config.loop.select})",
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


def prepare(options: argparse.Namespace) -> int:
    """``dfer-train prepare``."""
    from train.data.prepare import Outcome, folder_clips
    from train.data.prepare import prepare as cut

    console = Console(stderr=True)
    report: DataReport | None = None
    if options.videos.is_dir() and not (options.videos / f"{options.part}.csv").is_file():
        clips = folder_clips(options.videos)
    else:
        clips, report = own_clips.load(options.videos, options.part)
        console.print(report.text(), highlight=False)
    workers = options.workers or os.cpu_count() or 1
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("cutting faces", total=len(clips))

        def advance(outcome: Outcome) -> None:
            progress.advance(task)
            if outcome.problem:
                progress.console.print(f"{outcome.name}: {outcome.problem}", highlight=False)

        outcomes = cut(
            clips, options.out, CropGeometry(size_px=options.size), workers, options.part, advance=advance,
            problems=report.problems if report else None,
        )  # fmt: skip
    done = sum(1 for o in outcomes if o.folder)
    listed = f" ({report.problem_count} problems with the list itself)" if report and report.problem_count else ""
    console.print(
        f"{done} of {len(outcomes)} clips cut{listed}; see {options.part}-failed.csv and {options.part}-contact.jpg"
    )
    print(options.out / f"{options.part}.csv")
    return 0 if done else 1


def table(options: argparse.Namespace) -> int:
    """``dfer-train table N``."""
    from train.papers.run import print_table, run_table
    from train.papers.tables import find_table

    found = find_table(options.model, options.number)
    console = Console()
    if options.list:
        print_table(found, [], console, "–")
        return 0
    if options.out is None or options.source is None:
        raise ConfigError("table needs --source, --data and --out, or --list for the paper's figures alone")
    if options.encoder:
        found = dataclasses.replace(
            found,
            encoder=options.encoder,
            rows=tuple(dataclasses.replace(row, encoder="") for row in found.rows),
        )
    data = {"source": options.source, "root": options.data or ""}
    base = {"data": data, "model": {"weights": options.weights}}
    with processes(options.device) as mine:
        measured = run_table(found, base, options.set, options.out, mine, options.folds, options.only)
        if mine.first:
            print_table(found, measured, console, options.source)
    return 0


def bench(options: argparse.Namespace) -> int:
    """``dfer-train bench``."""
    from train.training.bench import measure_step, render

    base = merge(recipe(options.model), {"model": {"encoder": options.encoder}})
    config = load_config(None, options.set, base)
    with processes(options.device) as mine:
        report = measure_step(config, mine, options.steps)
    if options.json:
        print(json.dumps(report, indent=1))
    else:
        render(report, Console())
    return 0


def export(options: argparse.Namespace) -> int:
    """``dfer-train export``."""
    from train.bundle.export import export_run

    weights = f"{options.weights}.safetensors" if options.weights else None
    bundle = export_run(options.source, options.out, weights, options.opset)
    print(bundle.path)
    return 0


def synth(options: argparse.Namespace) -> int:
    """``dfer-train synth``."""
    from train.data.parts import synthetic_settings
    from train.data.synthesise import write_synthetic
    from train.settings import DataSettings

    settings = DataSettings(source="synthetic", clips=options.clips, noise=options.noise, size_px=options.size)
    with Progress(console=Console(stderr=True), transient=True) as progress:
        for part in ("train", "test"):
            clips = SyntheticClips(synthetic_settings(settings, part))
            task = progress.add_task(f"drawing {part}", total=len(clips))
            print(write_synthetic(clips, options.out, part, lambda t=task: progress.advance(t)))  # type: ignore[misc]
    return 0
