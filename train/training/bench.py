"""``dfer-train bench``: clips per second and peak memory of the training step that `fit` would take.

Weights and clips are random and the clips lie on the device already, so this is the step alone: mixing, forward,
backward, optimizer. What loading and decoding add depends on the machine's disk and cores.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Iterator, Mapping
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from engine.backends.runtime import cpu_name
from engine.settings import SettingsError
from engine.spec import SEVEN_CLASSES
from train.data.dataset import Batch
from train.data.loading import StepSampler
from train.models.registry import build_model
from train.settings import RunConfig
from train.training.distributed import Processes
from train.training.loop import Trainer, training_mode
from train.training.objective import ClipLesson, WindowModel
from train.training.progress import Reporter
from train.training.task import Task

MiB = 1 << 20


def measure_step(config: RunConfig, processes: Processes, steps: int = 20, warmup: int = 3) -> dict[str, Any]:
    """Time optimizer steps of a configuration.

    Args:
        config: The run whose step is measured; its data settings are not read.
        processes: One process; its device is measured.
        steps: Timed steps.
        warmup: Steps before them.

    Returns:
        JSON-ready report: model, encoder, precision, batch and device; ``clips_per_s`` and ``step_ms`` (median of the
        timed steps), ``step_ms_max``; ``peak_mib``, the most memory that tensors held on the GPU, or the most that the
        whole process held where the device is the CPU.

    Raises:
        SettingsError: If there is more than one process or no step to time.
    """
    if processes.world > 1:
        raise SettingsError("bench measures one process: start it without torchrun")
    if steps < 1 or warmup < 0:
        raise SettingsError(f"bench needs one step or more and no negative warm-up, not {steps} and {warmup}")
    device, loop = processes.device, config.loop
    model = build_model(config.model, SEVEN_CLASSES, loop.seed)
    spec = model.spec()
    sampler = StepSampler(loop.batch, loop.batch, loop.accumulate, seed=loop.seed)
    batches = _random_batches(loop.batch // loop.accumulate, spec.samples, spec.crop.size_px, device)
    model = model.to(device)
    lesson = ClipLesson(config, model, np.ones(len(spec.labels), np.int64), processes)
    task = Task(model, WindowModel(model), spec.labels, sampler, batches, lesson)
    trainer = Trainer(config, task, Path(), processes, Reporter())
    training_mode(trainer.learner)
    taken: list[int] = []
    for step in range(warmup + steps):
        if step == warmup and device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        began = time.perf_counter_ns()
        # The loss is read back in every step, so it ends with the device at rest.
        trainer.step(batches)
        if step >= warmup:
            taken.append(time.perf_counter_ns() - began)
    median_s = float(np.median(taken)) / 1e9
    return {
        "model": config.model.name,
        "encoder": config.model.encoder,
        "precision": loop.precision,
        "batch": loop.batch,
        "accumulate": loop.accumulate,
        "device": _device_name(device),
        "torch": torch.__version__,
        "steps": steps,
        "clips_per_s": loop.batch / median_s,
        "step_ms": 1e3 * median_s,
        "step_ms_max": max(taken) / 1e6,
        "peak_mib": _peak_bytes(device) / MiB,
    }


def _random_batches(clips: int, samples: int, size_px: int, device: torch.device) -> Iterator[Batch]:
    generator = torch.Generator().manual_seed(0)
    crops = torch.randint(0, 256, (clips, samples, size_px, size_px, 3), generator=generator, dtype=torch.uint8)
    target = torch.arange(clips) % len(SEVEN_CLASSES)
    batch = Batch(crops, target, torch.arange(clips), torch.full((clips, samples), -1.0)).to(device)
    return repeat(batch)


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{cpu_name()}, {torch.get_num_threads()} threads"


def _peak_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # KiB everywhere but on macOS.
    return peak if sys.platform == "darwin" else peak * 1024


def render(report: Mapping[str, Any], console: Console) -> None:
    """Print a report as a table."""
    table = Table(title=f"training step of {report['model']} on {report['encoder']}", show_header=False)
    table.add_row("device", report["device"])
    table.add_row("precision", report["precision"])
    table.add_row("clips per step", f"{report['batch']} in {report['accumulate']} part(s)")
    table.add_row("throughput", f"{report['clips_per_s']:.2f} clips/s")
    table.add_row("step, median", f"{report['step_ms']:.1f} ms")
    table.add_row("step, slowest", f"{report['step_ms_max']:.1f} ms")
    table.add_row("peak memory", f"{report['peak_mib']:.0f} MiB")
    console.print(table)
