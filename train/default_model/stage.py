"""One run of the encoder, or of the other one that teaches it: stills, start, teachers, and the training loop."""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from engine.settings import SettingsError, values_of
from engine.spec import SEVEN_CLASSES, CropGeometry
from train.data.layouts.ferplus import Stills, hold_out, load_split
from train.data.stills import StillBatches
from train.default_model.recipe import StageConfig
from train.default_model.weights import build_encoder, read_run
from train.models.compact.encoder import FrameClassifier
from train.models.compact.grow import grown
from train.models.compact.pretrained import NAME, SHA256, PretrainedError, read_graph, start
from train.models.compact.separable import SeparableEncoder
from train.training.distil import StillLesson, judge_stills
from train.training.distributed import Processes
from train.training.fit import carry_out
from train.training.loop import Trainer
from train.training.progress import Reporter
from train.training.task import Task


@dataclass(frozen=True)
class Stage:
    """What the processes of one run are told.

    Attributes:
        config: How it learns.
        data: Folder with FER+.
        cache: Folder of cached stills.
        out: Folder of the run; one that was begun is taken up from its last whole epoch.
        start: Folder of the run to go on from, or None.
        teachers: Folders of the runs that are asked about every crop.
        pretrained: Folder of a network that knows faces, or None.
        quiet: Show nothing.
    """

    config: StageConfig
    data: Path
    cache: Path
    out: Path
    start: Path | None = None
    teachers: tuple[Path, ...] = ()
    pretrained: Path | None = None
    quiet: bool = False


def train_stage(processes: Processes, stage: Stage) -> bool:
    """Train in this process; its siblings run the same function.

    Returns:
        Whether it was trained to its end; False where Ctrl-C ended it before.

    Raises:
        DferError: Where data, start or teachers cannot be used, or settings do not go together.
    """
    trainer = make_trainer(stage, load_split(stage.data, "train", stage.cache), processes)
    carry_out(trainer, Console(stderr=True, quiet=stage.quiet or not processes.first))
    return not trainer.interrupted


def make_trainer(stage: Stage, stills: Stills, processes: Processes) -> Trainer:
    """The trainer of a run, its model started.

    Args:
        stage: What it is told.
        stills: FER+'s training stills; those to validate on are taken from them.
        processes: This process among all.

    Raises:
        DferError: As :func:`train_stage`.
    """
    config, device, world = stage.config, processes.device, processes.world
    most = config.loop.batch // world
    if config.distil.replay > most:
        raise SettingsError("distil.replay must leave each process a crop of a batch", f"1 to {most}")
    geometry = CropGeometry(size_px=config.shape.size_px)
    held = hold_out(stills, config.stills.validation)
    loop, shown = config.loop, stills.select(~held)
    batches = StillBatches(shown, config.stills, geometry, loop.seed, loop.batch, device, processes.rank, world)
    teachers = [read_run(folder) for folder in stage.teachers]
    torch.manual_seed(loop.seed)
    model = FrameClassifier(build_encoder(config.shape), len(SEVEN_CLASSES)).to(device)
    model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    about: dict[str, Any] = {
        "config": values_of(config),
        "shape": dataclasses.asdict(config.shape),
        "data_sha256": stills.sha256,
        "world": world,
    }
    about |= _start(model, stage, batches)
    model.keep_statistics = config.keep_statistics
    if teachers:
        about["teachers"] = [teacher.identity for teacher in teachers]
    lesson = StillLesson(config.distil, batches, [teacher.classifier().to(device) for teacher in teachers])
    watched = stills.select(held & stills.usable)
    judge = functools.partial(judge_stills, model, watched, geometry, processes) if len(watched) else None
    task = Task(model, model, SEVEN_CLASSES, batches, batches, lesson, judge, about, partial=False)
    return Trainer(config, task, stage.out, processes, Reporter())


def _start(model: FrameClassifier, stage: Stage, batches: StillBatches) -> dict[str, Any]:
    """Fill a fresh model with what the run begins from; what its record says of that."""
    if stage.start is not None:
        begun = read_run(stage.start)
        model.load_state_dict(grown(begun.weights, model.state_dict()))
        known = {"pretrained": begun.record["pretrained"]} if "pretrained" in begun.record else {}
        return {"start": begun.identity, **known}
    if stage.pretrained is not None:
        if not isinstance(model.encoder, SeparableEncoder):
            raise PretrainedError("pre-trained weights fit encoder = separable alone")
        start(model.encoder, read_graph(stage.pretrained), batches.plain(256).to(batches.device))
        return {"pretrained": {"name": NAME, "sha256": SHA256}}
    return {}
