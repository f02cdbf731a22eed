"""The training loop, the only one: read it top to bottom.

It knows neither clips nor stills: batches come in an order, a lesson makes a loss of a batch, a judge counts right
answers, and all chance is theirs. What is here: epochs and minutes, gradients averaged over micro-batches and
processes, rates, precision, the moving average of the weights, validation, checkpoints and interrupts.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from calibration.metrics import Scores, score_confusion
from engine.files import write_text
from engine.settings import SettingsError, values_of
from train.training import checkpoint
from train.training.distributed import Processes, check_compiler
from train.training.optimizer import MovingAverage, build_optimizer, rate_factor, set_rates
from train.training.progress import Reporter
from train.training.task import Config, Moment, Task

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


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
        task: What is trained.
        out: The run's folder.
        processes: This process among all.
        reporter: Shows what happens.

    Raises:
        SettingsError: If settings do not fit the model or this machine.
    """

    def __init__(self, config: Config, task: Task, out: Path, processes: Processes, reporter: Reporter) -> None:
        self.config, self.task, self.out, self.processes, self.reporter = config, task, out, processes, reporter
        self.device, self.model, self.order = processes.device, task.model, task.order
        self.optimizer = build_optimizer(self.model, config.optim)
        loop = config.loop
        self.average = MovingAverage(self.model, loop.ema, loop.ema_buffers) if loop.ema else None
        self.precision = processes.precision(loop.precision)
        self.scaler = torch.amp.GradScaler(
            self.device.type, enabled=self.precision == "fp16" and self.device.type == "cuda"
        )
        if loop.compiled:
            check_compiler(self.device)
        learner = cast(nn.Module, torch.compile(task.learner)) if loop.compiled else task.learner
        self.learner = processes.wrap(learner, task.partial)
        self.progress = checkpoint.Progress()
        self.share = 0.0
        self.on_step: Callable[[int], None] | None = None
        self._stop = False
        self._since = time.monotonic()

    def fit(self) -> checkpoint.Progress:
        """Train until the last epoch, the last minute, an early stop or an interrupt; saved after every epoch.

        Returns:
            Where the run stands; ``interrupted`` runs have fewer epochs in their history than asked for.
        """
        with self._interrupts():
            self._since = time.monotonic()
            while self._share() < 1 and not self._stop:
                self._train_epoch()
                if self._stop or self._end_epoch():
                    break
        return self.progress

    @property
    def interrupted(self) -> bool:
        """Whether a signal ended the run early; it can be resumed."""
        return self._stop

    def _share(self) -> float:
        """How much of the run is done, [0, 1]; the first process's clock is everyone's."""
        progress, loop = self.progress, self.config.loop
        done = (progress.epoch + progress.step / self.order.steps) / loop.epochs
        now = time.monotonic()
        progress.spent_s, self._since = progress.spent_s + now - self._since, now
        if loop.minutes > 0:
            mine = progress.spent_s if self.processes.first else 0.0
            spent_s = self.processes.total(torch.tensor(mine, dtype=torch.float64)).item()
            done = max(done, spent_s / (60 * loop.minutes))
        return min(done, 1.0)

    def _train_epoch(self) -> None:
        progress, loop = self.progress, self.config.loop
        training_mode(self.learner)
        self.order.start(progress.epoch, progress.step)
        batches = iter(self.task.batches)
        self.reporter.epoch(progress.epoch, loop.epochs, progress.step, self.order.steps)
        self.share = self._share()
        while progress.step < self.order.steps and self.share < 1:
            terms = self.step(batches)
            progress.step += 1
            for name, value in terms.items():
                progress.loss_sum[name] = progress.loss_sum.get(name, 0.0) + value
            done = progress.epoch * self.order.steps + progress.step
            self.reporter.step(done, terms, self.optimizer.param_groups[0]["lr"])
            if self.on_step is not None:
                self.on_step(done)
            self._stop = self.processes.any(self._stop)
            if self.order.exact and (self._stop or (loop.save_steps and done % loop.save_steps == 0)):
                self.save()
            if self._stop:
                return

    def step(self, batches: Iterator[Any]) -> dict[str, float]:
        """One optimizer step over all micro-batches; the mean of each loss term over them and all processes."""
        loop, progress = self.config.loop, self.progress
        done = progress.epoch * self.order.steps + progress.step
        self.optimizer.zero_grad(set_to_none=True)
        sums: dict[str, Tensor] = {}
        for part in range(loop.accumulate):
            moment = Moment(progress.epoch, done, part, self.share, self.autocast)
            last = part + 1 == loop.accumulate
            with contextlib.nullcontext() if last or self.processes.world == 1 else self.learner.no_sync():  # type: ignore[operator]
                terms = self.task.lesson(next(batches), self.learner, moment)
                self.scaler.scale(terms["total"] / loop.accumulate).backward()  # type: ignore[no-untyped-call]
            for name, value in terms.items():
                sums[name] = sums.get(name, torch.zeros((), device=self.device)) + value.detach() / loop.accumulate
        # By the time that the gradient took: the last step of a run that minutes bound has the last rate.
        self.share = self._share()
        set_rates(self.optimizer, rate_factor(self.config.optim, done, self.order.steps, loop.epochs, self.share))
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
        if self.precision != "fp16" and not math.isfinite(values["total"]):
            raise SettingsError(
                f"the loss is {values['total']} in step {done + 1}", "lower optim.lr, set optim.clip_norm or use fp32"
            )
        return values

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """Context in which models compute in the run's precision."""
        dtype = _DTYPES.get(self.precision)
        return contextlib.nullcontext() if dtype is None else torch.autocast(self.device.type, dtype)

    def _end_epoch(self) -> bool:
        """Validate, record, save. True if training stops early."""
        progress, loop = self.progress, self.config.loop
        row: dict[str, Any] = {"epoch": progress.epoch}
        row |= {f"loss_{name}": value / progress.step for name, value in progress.loss_sum.items()}
        last = progress.epoch + 1 == loop.epochs or self.share >= 1
        better = False
        if self.task.judge is not None and (last or (progress.epoch + 1) % loop.check_every == 0):
            result = self.validate()
            row |= {"war": result.war, "uar": result.uar, "clips": int(result.confusion.sum())}
            figure = {"war": result.war, "uar": result.uar, "mean": (result.war + result.uar) / 2}[loop.monitor]
            better = figure > progress.best
            if better:
                progress.best, progress.best_epoch = figure, progress.epoch
        self._since = time.monotonic()
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
        """Score what the judge knows with the averaged weights where there is an average."""
        assert self.task.judge is not None
        with self.averaged():
            # Running statistics are each process's own: judged is what the first one saves.
            self.processes.follow(self.model.buffers())
            self.model.eval()
            counts = self.task.judge(self.autocast)
        counts = self.processes.total(counts).cpu()
        return score_confusion(counts.numpy().astype(np.int64), self.task.labels)

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
        facts |= {"config": values_of(self.config), "precision": self.precision, "scaler": self.scaler.state_dict()}
        facts["about"] = self.task.about
        if self.average is not None:
            tensors |= {f"average.{name}": t for name, t in self.average.shadow.items()}
            facts["average_updates"] = self.average.updates
        checkpoint.save_tensors(self.out / "state.safetensors", tensors, facts)
        write_text(self.out / "history.json", json.dumps(self.progress.history, indent=1))

    def save_weights(self, name: str, row: dict[str, Any]) -> None:
        """Write weights for use: trained tensors (averaged where there is an average)."""
        if self.processes.first:
            facts: dict[str, Any] = {"epoch": row}
            if self.task.about:
                facts |= {**self.task.about, "epochs": self.progress.epoch, "spent_s": self.progress.spent_s}
            with self.averaged():
                checkpoint.save_tensors(self.out / name, checkpoint.trained_tensors(self.model), facts)

    def resume(self) -> None:
        """Take up the run that ``state.safetensors`` in `out` belongs to.

        Raises:
            CheckpointError: If it is missing, damaged or of another configuration.
        """
        path = self.out / "state.safetensors"
        tensors, facts = checkpoint.load_tensors(path)
        bounded = self.config.optim.schedule in ("cosine", "one-cycle")
        checkpoint.check_same_run(facts["config"], values_of(self.config), bounded, path)
        # A trial may turn out differently on a busy machine; what was chosen first holds for the whole run.
        self.precision, self.task.about = facts["precision"], facts["about"]
        own = {n.removeprefix("model."): t for n, t in tensors.items() if n.startswith("model.")}
        checkpoint.restore_model(self.model, own, path)
        checkpoint.restore_optimizer(self.optimizer, tensors, facts["optimizer"])
        if self.scaler.is_enabled():
            self.scaler.load_state_dict(facts["scaler"])
        if self.average is not None:
            shadow = {n.removeprefix("average."): t for n, t in tensors.items() if n.startswith("average.")}
            self.average.load(shadow, facts["average_updates"])
        self.progress = checkpoint.Progress(**facts["progress"])

    @contextlib.contextmanager
    def _interrupts(self) -> Iterator[None]:
        """Ctrl-C and SIGTERM end the run after the step in progress, saved; a second one ends it at once."""

        def ask(_number: int, _frame: FrameType | None) -> None:
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
