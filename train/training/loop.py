"""The training loop: read it top to bottom.

Nothing random is kept between steps: frames, transforms, mixing, order and dropout of a step follow from (seed, epoch,
step, process). So a run resumed from any checkpoint takes the same steps as an unbroken one.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import math
import signal
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from calibration.metrics import Scores, score_confusion
from engine.files import write_text
from engine.settings import SettingsError
from train.data.augment.mixing import mix_clips
from train.data.dataset import Batch
from train.data.loading import StepSampler
from train.models.window import ExpressionModel, WindowOutput
from train.settings import RunConfig
from train.training import checkpoint
from train.training.distributed import Processes
from train.training.objective import Objective, soft_targets
from train.training.optimizer import MovingAverage, build_optimizer, rate_factor, set_rates
from train.training.progress import Reporter

_log = logging.getLogger(__name__)
_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


class WindowModel(nn.Module):
    """A model called with whatever a batch holds: normalised clips, or cached features.

    Args:
        model: The model.
    """

    def __init__(self, model: ExpressionModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: Tensor) -> WindowOutput:
        """``(B, T, 3, S, S)`` normalised clips or ``(B, W, F)`` features."""
        return self.model.head(inputs) if inputs.ndim == 3 else self.model(inputs)


def normalise(crops: Tensor, model: ExpressionModel) -> Tensor:
    """``(B, T, S, S, 3)`` uint8 to ``(B, T, 3, S, S)`` float32 with the model's mean and std; features pass."""
    if crops.dtype != torch.uint8:
        return crops
    scaled = crops.permute(0, 1, 4, 2, 3).float() / 255
    return (scaled - model.mean) / model.std


def training_mode(model: nn.Module) -> None:
    """Set a model to train, except for parts none of whose parameters is trained.

    Those answer as in evaluation: batch normalisation would else go on moving the statistics of a frozen encoder.
    """
    model.train()
    for module in model.modules():
        parameters = list(module.parameters())
        if parameters and not any(p.requires_grad for p in parameters):
            module.eval()


class Trainer:
    """Trains one model.

    Args:
        config: The run.
        model: On any device; it is moved.
        loader: Training batches, following `sampler`.
        sampler: Their order.
        class_counts: ``(C,)`` training clips per class.
        validation: This process's share of the validation batches, or None.
        out: The run's folder.
        processes: This process among all.
        reporter: Shows what happens.
    """

    def __init__(
        self,
        config: RunConfig,
        model: ExpressionModel,
        loader: DataLoader[Any],
        sampler: StepSampler,
        class_counts: np.ndarray,
        validation: Iterable[Batch] | None,
        out: Path,
        processes: Processes,
        reporter: Reporter,
    ) -> None:
        self.config, self.out, self.processes, self.reporter = config, out, processes, reporter
        self.device = processes.device
        self.model = model.to(self.device)
        self.labels = model.spec().labels
        self.loader, self.sampler, self.validation = loader, sampler, validation
        self.objective = Objective(config.objective, class_counts)
        self.optimizer = build_optimizer(self.model, config.optim)
        self.average = MovingAverage(self.model, config.loop.ema) if config.loop.ema else None
        self.scaler = torch.amp.GradScaler(
            self.device.type, enabled=config.loop.precision == "fp16" and self.device.type == "cuda"
        )
        self.stepper = processes.wrap(WindowModel(self.model))
        self.progress = checkpoint.Progress()
        self.on_step: Callable[[int], None] | None = None
        self._stop = False

    def fit(self) -> checkpoint.Progress:
        """Train until the last epoch, an early stop or an interrupt; checkpoints are in `out` after every epoch.

        Returns:
            Where the run stands; ``interrupted`` runs have fewer epochs in their history than asked for.
        """
        loop = self.config.loop
        with self._interrupts():
            while self.progress.epoch < loop.epochs and not self._stop:
                self._train_epoch()
                if self._stop:
                    break
                if self._end_epoch():
                    break
        return self.progress

    @property
    def interrupted(self) -> bool:
        """Whether a signal ended the run early; it can be resumed."""
        return self._stop

    def _train_epoch(self) -> None:
        progress, loop = self.progress, self.config.loop
        training_mode(self.stepper)
        self.sampler.start(progress.epoch, progress.step)
        batches: Iterator[Batch] = iter(self.loader)
        self.reporter.epoch(progress.epoch, loop.epochs, progress.step, self.sampler.steps)
        while progress.step < self.sampler.steps:
            terms = self.step(batches)
            progress.step += 1
            for name, value in terms.items():
                progress.loss_sum[name] = progress.loss_sum.get(name, 0.0) + value
            done = progress.epoch * self.sampler.steps + progress.step
            self.reporter.step(done, terms, self.optimizer.param_groups[0]["lr"])
            if self.on_step is not None:
                self.on_step(done)
            self._stop = self.processes.any(self._stop)
            if self._stop or (loop.save_steps and done % loop.save_steps == 0):
                self.save()
            if self._stop:
                return

    def step(self, batches: Iterator[Batch]) -> dict[str, float]:
        """One optimizer step over all micro-batches; the mean of each loss term over them and all processes."""
        loop, progress = self.config.loop, self.progress
        done = progress.epoch * self.sampler.steps + progress.step
        torch.manual_seed(_mix_seed(loop.seed, done, self.processes.rank))
        set_rates(self.optimizer, rate_factor(self.config.optim, done, self.sampler.steps, loop.epochs))
        self.optimizer.zero_grad(set_to_none=True)
        sums: dict[str, Tensor] = {}
        for part in range(loop.accumulate):
            batch = next(batches).to(self.device)
            rng = np.random.default_rng([loop.seed, 2, done, part, self.processes.rank])
            last = part + 1 == loop.accumulate
            with contextlib.nullcontext() if last or self.processes.world == 1 else self.stepper.no_sync():  # type: ignore[operator]
                terms = self._loss(batch, rng)
                self.scaler.scale(terms["total"] / loop.accumulate).backward()  # type: ignore[no-untyped-call]
            for name, value in terms.items():
                sums[name] = sums.get(name, torch.zeros((), device=self.device)) + value.detach() / loop.accumulate
        if self.config.optim.clip_norm:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.model.parameters(), self.config.optim.clip_norm)
        scale = self.scaler.get_scale()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        progress.skipped += int(self.scaler.get_scale() < scale)
        if self.average is not None:
            self.average.update(self.model)
        names = sorted(sums)
        means = self.processes.total(torch.stack([sums[n].float() for n in names])) / self.processes.world
        values = dict(zip(names, means.tolist(), strict=True))
        if self.config.loop.precision != "fp16" and not math.isfinite(values["total"]):
            raise SettingsError(
                f"the loss is {values['total']} in step {done + 1}: lower optim.lr, set optim.clip_norm or use fp32"
            )
        return values

    def _loss(self, batch: Batch, rng: np.random.Generator) -> dict[str, Tensor]:
        targets = soft_targets(batch.target, len(self.labels), self.config.objective.label_smoothing)
        inputs, targets = mix_clips(normalise(batch.inputs, self.model), targets, self.config.mix, rng)
        with self._autocast():
            output = self.stepper(inputs)
        return self.objective(output, targets, batch.truth, self.progress.epoch)

    def _autocast(self) -> contextlib.AbstractContextManager[Any]:
        dtype = _DTYPES.get(self.config.loop.precision)
        return contextlib.nullcontext() if dtype is None else torch.autocast(self.device.type, dtype)

    def _end_epoch(self) -> bool:
        """Validate, record, save. True if training stops early."""
        progress, loop = self.progress, self.config.loop
        row: dict[str, Any] = {"epoch": progress.epoch}
        row |= {f"loss_{name}": value / self.sampler.steps for name, value in progress.loss_sum.items()}
        better = False
        if self.validation is not None:
            result = self.validate()
            row |= {"war": result.war, "uar": result.uar}
            figure = {"war": result.war, "uar": result.uar, "mean": (result.war + result.uar) / 2}[loop.monitor]
            better = figure > progress.best
            if better:
                progress.best, progress.best_epoch = figure, progress.epoch
        progress.history.append(row)
        progress.epoch, progress.step, progress.loss_sum = progress.epoch + 1, 0, {}
        self.reporter.end_epoch(row, better)
        if better:
            self.save_weights("best.safetensors", row)
        self.save_weights("last.safetensors", row)
        self.save()
        return bool(loop.patience and progress.epoch - 1 - progress.best_epoch >= loop.patience)

    @torch.no_grad()
    def validate(self) -> Scores:
        """Score the validation clips with the averaged weights where there is an average."""
        assert self.validation is not None
        classes = len(self.labels)
        counts = torch.zeros(classes, classes, dtype=torch.float64)
        with self.averaged():
            self.model.eval()
            model = WindowModel(self.model)
            for batch in self.validation:
                batch = batch.to(self.device)
                with self._autocast():
                    output = model(normalise(batch.inputs, self.model))
                pairs = batch.target * classes + output.logits.argmax(dim=-1)
                counts += torch.bincount(pairs.cpu(), minlength=classes**2).reshape(classes, classes)
        counts = self.processes.total(counts).cpu()
        return score_confusion(counts.numpy().astype(np.int64), self.labels)

    @contextlib.contextmanager
    def averaged(self) -> Iterator[None]:
        """Inside, the model has its averaged weights."""
        if self.average is not None:
            self.average.swap(self.model)
        try:
            yield
        finally:
            if self.average is not None:
                self.average.swap(self.model)

    def save(self) -> None:
        """Write ``state.safetensors``, from which :meth:`resume` goes on, and ``history.json``."""
        if not self.processes.first:
            return
        tensors = {f"model.{name}": t for name, t in checkpoint.trained_tensors(self.model).items()}
        moments, numbers = checkpoint.optimizer_tensors(self.optimizer)
        tensors |= moments
        facts: dict[str, Any] = {"progress": dataclasses.asdict(self.progress), "optimizer": numbers}
        facts["config"] = self.config.to_dict()
        facts["scaler"] = self.scaler.state_dict()
        if self.average is not None:
            tensors |= {f"average.{name}": t for name, t in self.average.shadow.items()}
            facts["average_updates"] = self.average.updates
        checkpoint.save_tensors(self.out / "state.safetensors", tensors, facts)
        write_text(self.out / "history.json", json.dumps(self.progress.history, indent=1))

    def save_weights(self, name: str, row: dict[str, Any]) -> None:
        """Write weights for use: trained tensors (averaged where there is an average)."""
        if self.processes.first:
            with self.averaged():
                checkpoint.save_tensors(self.out / name, checkpoint.trained_tensors(self.model), {"epoch": row})

    def resume(self) -> None:
        """Take up the run that ``state.safetensors`` in `out` belongs to.

        Raises:
            CheckpointError: If it is missing, damaged or of another configuration.
        """
        path = self.out / "state.safetensors"
        tensors, facts = checkpoint.load_tensors(path)
        self._check_same_run(facts["config"], path)
        own = {n.removeprefix("model."): t for n, t in tensors.items() if n.startswith("model.")}
        checkpoint.restore_model(self.model, own, path)
        checkpoint.restore_optimizer(self.optimizer, tensors, facts["optimizer"])
        if self.scaler.is_enabled():
            self.scaler.load_state_dict(facts["scaler"])
        if self.average is not None:
            shadow = {n.removeprefix("average."): t for n, t in tensors.items() if n.startswith("average.")}
            self.average.load(shadow, facts["average_updates"])
        self.progress = checkpoint.Progress(**facts["progress"])

    def _check_same_run(self, saved: dict[str, Any], path: Path) -> None:
        current = json.loads(json.dumps(self.config.to_dict()))
        # How clips are loaded and how long the run is may change; what a step computes may not.
        for section, key in (("data", "workers"), ("data", "root"), ("data", "verify"), ("loop", "save_steps")):
            saved[section][key] = current[section][key]
        if self.config.optim.schedule != "cosine":
            saved["loop"]["epochs"] = current["loop"]["epochs"]
        different = [
            f"{section}.{key} was {saved[section].get(key)!r}"
            for section, values in current.items()
            for key, value in values.items()
            if saved[section].get(key) != value
        ]
        if different:
            raise checkpoint.CheckpointError(f"{path} is of another configuration: {'; '.join(different)}")

    @contextlib.contextmanager
    def _interrupts(self) -> Iterator[None]:
        """Ctrl-C and SIGTERM end the run after the step in progress, saved; a second one ends it at once."""

        def ask(signum: int, frame: FrameType | None) -> None:
            if self._stop:
                raise KeyboardInterrupt
            self._stop = True

        try:
            kept = {s: signal.signal(s, ask) for s in (signal.SIGINT, signal.SIGTERM)}
        except ValueError:
            # Not the main thread: whoever owns it handles signals.
            yield
            return
        try:
            yield
        finally:
            for number, handler in kept.items():
                signal.signal(number, handler)


def _mix_seed(*parts: int) -> int:
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> 1)
