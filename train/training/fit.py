"""One training run from configuration to weights: data, model, loaders, loop."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from rich.console import Console
from torch import Tensor
from torch.utils.data import Dataset

from engine.files import write_text
from engine.settings import Layer, SettingsError, load
from engine.spec import ModelSpec
from train.data.dataset import Batch, ClipDataset, Sample, collate, pack
from train.data.loading import StepSampler, balanced_weights, evaluation_loader, training_loader
from train.data.parts import Parts, data_labels, load_parts
from train.data.record import DataError, DataReport
from train.models.options import ModelOptions
from train.models.registry import build_model
from train.models.window import ExpressionModel
from train.settings import RunConfig
from train.training import checkpoint
from train.training.distributed import Processes
from train.training.features import cache_features
from train.training.loop import Trainer
from train.training.objective import ClipLesson, WindowModel, judge_clips, leaves_out
from train.training.progress import Reporter, display
from train.training.task import Task
from train.training.transfer import start_from


@dataclass(frozen=True)
class FitResult:
    """A finished or interrupted run.

    Attributes:
        out: Its folder.
        progress: Where it stands.
        interrupted: Whether a signal ended it early.
        selected: The weights that the configuration selects, within `out`.
    """

    out: Path
    progress: checkpoint.Progress
    interrupted: bool
    selected: str


def fit(
    config: RunConfig,
    out: Path,
    processes: Processes,
    resume: bool = False,
    source: Path | None = None,
    quiet: bool = False,
) -> FitResult:
    """Train as configured.

    Args:
        config: The run.
        out: Its folder; must be new unless resumed.
        processes: This process among all.
        resume: Go on from ``out/state.safetensors`` where there is one.
        source: A bundle or a run whose weights to begin with.
        quiet: No progress bar and no report.

    Raises:
        SettingsError: If the folder holds another run, or settings contradict each other.
        DataError: If the data cannot be used.
        CheckpointError: If the run to resume does not fit.
    """
    console = Console(stderr=True, quiet=quiet or not processes.first)
    state = out / "state.safetensors"
    if not processes.alike(str(state.exists())):
        raise SettingsError(
            f"only some of the processes see {state}", "put --out where all machines see the same files"
        )
    if state.exists() and not resume:
        raise SettingsError(f"{out} holds a run already: --resume goes on with it, or choose another --out")
    paper_protocol = config.loop.select == "paper-protocol"
    model = build_model(config.model, labels_of(config), config.loop.seed)
    spec = model.spec()
    parts = load_parts(config.data, spec.samples, config.loop.seed, want_test=paper_protocol)
    if not processes.alike(_contents(parts)):
        raise DataError(
            f"the processes do not read the same clips: process {processes.rank} finds {_counts(parts)}",
            "give all machines the same files under --data",
        )
    for report in parts.reports:
        console.print(report.text(), highlight=False)
    if source is not None:
        console.print(start_from(model, source, first_units(parts, spec)).text(), highlight=False)
    trainer = make_trainer(config, model, parts, out, processes)
    if processes.first:
        _write_run(config, spec, parts.reports, model, out)
    carry_out(trainer, console)
    return FitResult(out, trainer.progress, trainer.interrupted, selected_weights(config))


def carry_out(trainer: Trainer, console: Console) -> None:
    """Train, from where the run in its folder stands if there is one; shown unless the console is quiet."""
    if (trainer.out / "state.safetensors").exists():
        trainer.resume()
    progress = trainer.progress
    done = progress.epoch * trainer.order.steps + progress.step
    if console.quiet:
        trainer.fit()
    else:
        with display(trainer.out, done, console, progress.best) as shown:
            trainer.reporter = shown
            trainer.fit()
    trainer.processes.wait()


def _contents(parts: Parts) -> str:
    """Every clip that is trained or chosen on."""
    sources = (parts.train, parts.validation, parts.test)
    return "\n".join(f"{c.name}\t{c.label}\t{c.frames}" for s in sources if s is not None for c in s.clips)


def _counts(parts: Parts) -> str:
    named = (("train", parts.train), ("choose on", parts.validation))
    return ", ".join(f"{len(source.clips)} to {what}" for what, source in named if source is not None)


def first_units(parts: Parts, spec: ModelSpec, clips: int = 32) -> Tensor:
    """Units of crops of some training clips, ``(n, U, S, S, 3)`` uint8, evenly picked."""
    assert parts.train is not None
    dataset = ClipDataset(parts.train, spec.labels, spec)
    picked = np.unique(np.linspace(0, len(dataset) - 1, min(clips, len(dataset))).astype(int))
    crops = torch.stack([dataset[pack(0, int(i))].inputs for i in picked])
    return crops.reshape(-1, spec.unit, *crops.shape[2:])


def labels_of(config: RunConfig) -> tuple[str, ...]:
    """Classes of a run: those its model options state, else those of the data set.

    Raises:
        DataError: If they must be read from a file and cannot.
    """
    labels = config.model.options.get("labels")
    if labels:
        return tuple(labels)
    return data_labels(config.data)


def selected_weights(config: RunConfig) -> str:
    """File name of the weights that the configuration selects."""
    return "last.safetensors" if config.loop.select == "last" else "best.safetensors"


def make_trainer(config: RunConfig, model: ExpressionModel, parts: Parts, out: Path, processes: Processes) -> Trainer:
    """Data sets, loaders and trainer of a run.

    Raises:
        DataError: If a clip's class is unknown to the model or the batch cannot be dealt.
    """
    assert parts.train is not None
    spec, loop, data = model.spec(), config.loop, config.data
    training = ClipDataset(parts.train, spec.labels, spec, loop.seed, config.augment, data.prefix, data.padding)
    chosen_on = parts.test if loop.select == "paper-protocol" else parts.validation
    watching = None if chosen_on is None else ClipDataset(chosen_on, spec.labels, spec, loop.seed, padding=data.padding)
    targets = training.targets
    weights = balanced_weights(targets, len(spec.labels), loop.balance) if loop.balance else None
    sampler = StepSampler(
        len(training), loop.batch, loop.accumulate, processes.rank, processes.world, loop.seed, weights
    )
    pin = processes.device.type == "cuda"
    train_set: ClipDataset | object = training
    watch_set: ClipDataset | object | None = watching
    workers = data.workers
    if loop.cache_features:
        # One process computes, the others read what it left.
        for turn in (True, False):
            if processes.first is turn:
                folder = out / "features"
                train_set = cache_features(
                    model, training, loop.feature_views, folder, "train", processes.device, workers=workers
                )
                if watching is not None:
                    watch_set = cache_features(
                        model, watching, 1, folder, "validation", processes.device, workers=workers
                    )
            processes.wait()
        workers = 0
    loader = training_loader(cast("Dataset[Sample]", train_set), sampler, workers, pin)
    model = model.to(processes.device)
    judge = None
    if watch_set is not None:
        watch = cast("Dataset[Sample]", watch_set)
        size = max(1, loop.batch // (loop.accumulate * processes.world))
        validation = evaluation_loader(watch, size, workers, pin, processes.rank, processes.world)
        judge = functools.partial(judge_clips, model, cast("Iterable[Batch]", validation), processes.device)
    lesson = ClipLesson(config, model, np.bincount(targets, minlength=len(spec.labels)), processes)
    # DDP's look-out for parameters without a gradient costs time, and warns where there are none.
    partial = bool(config.objective.local_until_epoch)
    if processes.world > 1 and not partial:
        first = cast("Dataset[Sample]", train_set)[pack(0, 0)]
        partial = processes.any(leaves_out(model, lesson, collate([first, first])))
    task = Task(model, WindowModel(model), spec.labels, sampler, loader, lesson, judge, partial=partial)
    return Trainer(config, task, out, processes, Reporter())


def _write_run(
    config: RunConfig, spec: ModelSpec, reports: tuple[DataReport, ...], model: ExpressionModel, out: Path
) -> None:
    frozen = checkpoint.frozen_tensors(model)
    store = out / "frozen.safetensors"
    if frozen and not store.exists():
        checkpoint.save_tensors(store, frozen, {})
    settled_options = {**config.model.options, "labels": list(spec.labels)}
    own = getattr(model, "config", None)
    if config.model.weights and isinstance(own, ModelOptions):
        # The run's own files hold the weights from now on, and say nothing of the activation they were trained with.
        settled_options["activation"] = own.activation
    settled = dataclasses.replace(config, model=dataclasses.replace(config.model, options=settled_options))
    write_text(out / "config.json", json.dumps(settled.to_dict(), indent=1))
    write_text(out / "spec.json", json.dumps(spec.to_dict(), indent=1))
    write_text(out / "data-report.json", json.dumps([r.to_dict() for r in reports], indent=1))


def read_run(out: Path) -> RunConfig:
    """The configuration of a run's folder.

    Raises:
        SettingsError: If it holds no run.
    """
    path = out / "config.json"
    try:
        return load(RunConfig, below=[Layer(json.loads(path.read_text("utf-8")), str(path))]).settings
    except OSError as error:
        raise SettingsError(f"{out} holds no training run (no config.json)") from error


def load_run(out: Path, weights: str | None = None) -> tuple[ExpressionModel, RunConfig]:
    """The trained model of a run's folder, in evaluation mode.

    Args:
        out: The folder.
        weights: ``best.safetensors``, ``last.safetensors``, or None for what the run selects.

    Raises:
        SettingsError: If it holds no run.
        CheckpointError: If the weights are missing or do not fit.
    """
    config = read_run(out)
    # Whatever pretrained weights the run began with are in its own files.
    plain = dataclasses.replace(config.model, weights="")
    model = build_model(plain, labels_of(config), config.loop.seed)
    for name in ("frozen.safetensors", weights or selected_weights(config)):
        path = out / name
        if name == "frozen.safetensors" and not path.exists():
            continue
        tensors, _ = checkpoint.load_tensors(path)
        checkpoint.restore_model(model, tensors, path)
    return model.eval(), config
