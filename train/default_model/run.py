"""The state of one training run of the encoder: a pass over the stills, averaged weights, checkpoints."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, distributed
from torch.nn import functional

from engine.files import write_text
from engine.spec import SEVEN_CLASSES, CropGeometry
from train.data.augment.still import AugmentConfig, augment, crop_matrices, render, swapped
from train.data.layouts.ferplus import Stills
from train.default_model.checkpoint import build_encoder, read_average, read_record, write_tensors
from train.models.compact.encoder import EncoderShape, FrameClassifier
from train.models.compact.grow import grown
from train.models.compact.pretrained import PretrainedError, read_graph, start
from train.models.compact.separable import SeparableEncoder
from train.training.replay import Replay
from train.training.targets import sampling_weights, without_slips


@dataclass(frozen=True)
class FitConfig:
    """Settings of one training run.

    Attributes:
        seed: Seed of everything random.
        epochs: Passes over the training stills; with ``minutes`` an upper bound.
        minutes: Wall-clock budget that the schedule spans instead of ``epochs``; 0 for none.
        batch: Crops per step over all processes.
        optimizer: ``sgd`` (with Nesterov momentum 0.9) or ``adamw``.
        rate: Peak learning rate.
        fresh: Factor on it for layers that pre-trained weights do not fill.
        clip: Largest norm of a step's gradient; 0 for any.
        decay: Weight decay of matrices and kernels.
        rare: Power of a class's rarity in its stills' sampling weight: 0 samples evenly, 1 balances the classes.
        original: Weight of FER2013's original label beside the votes in that rarity. Targets stay votes, but more than
            twice as many stills were once labelled disgust as voters agree on, and the class lies between the two.
        slips: Votes for a class that are taken as a slip of the hand where there are no more of them and others remain;
            FER+'s own reading code (Barsoum et al., ICMI 2016) drops single votes.
        teacher: Share of trained models' answers in the targets, where there are any; the rest are votes.
        replay: How often a crop is used once teachers have answered it, on average; 1 asks anew at every step. More
            needs crops of one size. What is remembered is not part of a checkpoint: a resumed run gathers it anew.
        compiled: Whether the learner's step is compiled, which takes a C++ compiler and its first minute.
        swap_share: Share of batches whose crops take their lower part from another crop; only asked of teachers.
        settle: Share of the run, at its end, with half the disturbance and, unless there are teachers, without mixup.
        mixup: Parameter of the Beta distribution that mixes two crops; 0 for none.
        mixup_share: Share of batches that are mixed.
        ema: Decay of the averaged weights, per step.
        validation: Share of twin clusters held out.
        precision: ``float32``, ``bfloat16`` (autocast), or ``auto``: the faster of the two on this processor, tried.
        sizes: Side of the training crops by equal parts of the run, px.
        check_every: Epochs between looks at the held-out stills.
    """

    seed: int = 1
    epochs: int = 60
    minutes: float = 0.0
    batch: int = 128
    optimizer: str = "sgd"
    rate: float = 0.12
    fresh: float = 1.0
    clip: float = 0.0
    decay: float = 5e-4
    rare: float = 0.5
    original: float = 0.3
    slips: int = 0
    teacher: float = 0.7
    replay: int = 1
    compiled: bool = False
    swap_share: float = 0.0
    settle: float = 0.15
    mixup: float = 0.2
    mixup_share: float = 0.3
    ema: float = 0.999
    validation: float = 0.05
    precision: str = "auto"
    sizes: tuple[int, ...] = (40, 48, 48, 56)
    check_every: int = 3


def learning_rate(progress: float, peak: float) -> float:
    """Linear warm-up over the first 5 %, then a cosine to zero."""
    if progress < 0.05:
        return peak * max(progress / 0.05, 0.02)
    return peak * 0.5 * (1 + math.cos(math.pi * min((progress - 0.05) / 0.95, 1.0)))


def fast_bfloat16() -> bool:
    """Whether a 3x3 convolution of the encoder's kind is faster in bfloat16 than in float32 here: tried."""
    layer = torch.nn.Conv2d(64, 64, 3, padding=1).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    crops = torch.rand(32, 64, 14, 14).contiguous(memory_format=torch.channels_last)
    taken: dict[bool, float] = {}
    for half in (False, True):
        for attempt in range(6):
            began = time.perf_counter()
            with torch.autocast("cpu", torch.bfloat16, enabled=half):
                layer(crops).float().sum().backward()
            if attempt:
                taken[half] = min(taken.get(half, math.inf), time.perf_counter() - began)
    return taken[True] < 0.8 * taken[False]


_REMEMBERED = 100_000
"""Answered crops kept over all processes: a quarter of a gigabyte, and under a tenth of what a long run sees."""
_MOMENTS = ("momentum_buffer", "exp_avg", "exp_avg_sq", "step")


def make_optimizer(model: FrameClassifier, config: FitConfig) -> torch.optim.Optimizer:
    """The optimizer of a run; norms' scales and offsets do not decay."""
    groups: dict[tuple[bool, bool], list[torch.nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        fresh = not name.startswith(("encoder.stem", "encoder.blocks."))
        groups.setdefault((fresh, parameter.ndim > 1), []).append(parameter)
    settings = [
        {"params": some, "factor": config.fresh if fresh else 1.0, "weight_decay": config.decay * decayed}
        for (fresh, decayed), some in groups.items()
    ]
    if config.optimizer == "adamw":
        return torch.optim.AdamW(settings, lr=config.rate)
    return torch.optim.SGD(settings, lr=config.rate, momentum=0.9, nesterov=True)


class Run:
    """One process of a training run.

    Args:
        config: Settings.
        shape: The encoder's shape.
        stills: Training stills without the held-out ones.
        device: Where to compute.
        rank: Which process.
        world: How many processes.
        teachers: Trained models, whose mean answer to every crop is part of the targets.
    """

    def __init__(
        self, config: FitConfig, shape: EncoderShape, stills: Stills, device: str, rank: int = 0, world: int = 1,
        teachers: Sequence[FrameClassifier] = (),
    ) -> None:  # fmt: skip
        self.teachers = [teacher.eval().to(device) for teacher in teachers]
        self.config, self.rank, self.world, self.device = config, rank, world, torch.device(device)
        torch.manual_seed(config.seed)
        self.model = FrameClassifier(build_encoder(shape), len(SEVEN_CLASSES)).to(self.device)
        self.model = self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = {k: v.detach().clone() for k, v in self.model.state_dict().items()}
        votes = without_slips(stills.seven, config.slips)
        kept = votes.sum(1) > 0
        self.targets = torch.from_numpy(votes[kept] / votes[kept].sum(1, keepdims=True))
        self.grey = torch.from_numpy(stills.grey[kept])
        geometry = CropGeometry(size_px=shape.size_px)
        self.matrices = torch.from_numpy(crop_matrices(stills.points[kept], geometry))
        mean = np.median(stills.points[stills.found], axis=0)[None].astype(np.float32)
        self.mean_matrix = torch.from_numpy(crop_matrices(mean, geometry))[0].to(self.device)
        certain = votes[kept].sum(1) / np.maximum(stills.votes[kept].sum(1), 1)
        weights = sampling_weights(
            self.targets.numpy(), config.rare, stills.original[kept], config.original, certain.astype(np.float32)
        )
        self.weights = torch.from_numpy(weights)
        self.optimizer = make_optimizer(self.model, config)
        self.augmentation = AugmentConfig()
        self.settled = self.augmentation.settled(0.5)
        # Where the processor multiplies bfloat16 itself, a step takes 0.6 of the time; elsewhere it takes longer.
        self.half = config.precision == "bfloat16"
        if config.precision == "auto":
            self.half = self.device.type == "cuda" or fast_bfloat16()
        remembered = _REMEMBERED // world if config.replay > 1 else 0
        self.replay = Replay(remembered, shape.size_px, len(SEVEN_CLASSES), self.device)
        self.learner: Callable[[Tensor], Tensor] = torch.compile(self.model) if config.compiled else self.model
        self.epoch, self.step, self.spent_s = 0, 0, 0.0

    def progress(self, epoch_share: float, running_s: float) -> float:
        """How much of the run is done, [0, 1]."""
        done = (self.epoch + epoch_share) / self.config.epochs
        if self.config.minutes > 0:
            done = max(done, (self.spent_s + running_s) / (60 * self.config.minutes))
        return min(done, 1.0)

    def _share(self, progress: float) -> float:
        """Average the gradients over the processes; process 0's progress is everyone's."""
        if self.world == 1:
            return progress
        gradients = [p.grad for p in self.model.parameters() if p.grad is not None]
        flat = torch.cat([g.reshape(-1) for g in gradients] + [torch.tensor([progress if self.rank == 0 else 0.0])])
        distributed.all_reduce(flat)
        start = 0
        for gradient in gradients:
            gradient.copy_(flat[start : start + gradient.numel()].view_as(gradient)).div_(self.world)
            start += gradient.numel()
        return float(flat[-1])

    @torch.no_grad()
    def answers(self, crops: Tensor) -> Tensor:
        """Mean probabilities ``(B, C)`` of the teachers for these very crops."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.half):
            said = [teacher(crops).float().softmax(-1) for teacher in self.teachers]
        return torch.stack(said).mean(0)

    def train_epoch(self) -> dict[str, float]:
        """One pass over as many stills as there are, drawn by weight.

        Returns:
            Mean loss, progress and crops per second.
        """
        config, began = self.config, time.monotonic_ns()
        shared = torch.Generator().manual_seed(config.seed * 100_003 + self.epoch)
        own = torch.Generator(self.device).manual_seed((config.seed * 100_003 + self.epoch) * 64 + self.rank)
        torch.manual_seed((config.seed * 100_003 + self.epoch) * 64 + self.rank)
        order = torch.multinomial(self.weights, len(self.weights), replacement=True, generator=shared)
        local = config.batch // self.world
        steps = max(len(order) // config.batch, 1)
        progress, loss_sum = self.progress(0, 0), 0.0
        self.model.train()
        index = 0
        for index in range(steps):
            # A replay that holds little would show the same few crops over and over.
            known = config.replay > 1 and self.replay.count >= 32 * local
            rows = order[index * config.batch + self.rank * local :][: local // config.replay if known else local]
            size = config.sizes[min(int(progress * len(config.sizes)), len(config.sizes) - 1)]
            target = self.targets[rows].to(self.device)
            with torch.no_grad():
                crops = augment(
                    self.grey[rows].to(self.device), self.matrices[rows].to(self.device), self.mean_matrix,
                    size, self.settled if progress >= 1 - config.settle else self.augmentation, own,
                )  # fmt: skip
                kind = float(torch.rand((), generator=shared))
                # Votes of a mixture are a guess, which the end of a run does without; a teacher's answer to it is not.
                alone = not self.teachers and progress >= 1 - config.settle
                taught = config.teacher
                if config.mixup > 0 and not alone and kind < config.mixup_share:
                    gamma = torch._standard_gamma(torch.full((2,), config.mixup), generator=shared)
                    share = float(gamma[0] / gamma.sum())
                    crops = crops * share + crops.flip(0) * (1 - share)
                    target = target * share + target.flip(0) * (1 - share)
                elif self.teachers and not alone and kind < config.mixup_share + config.swap_share:
                    crops, taught = swapped(crops, shared), 1.0
                if self.teachers:
                    target = torch.lerp(target, self.answers(crops), taught)
                if config.replay > 1:
                    asked = crops, target
                    if known:
                        again = self.replay.draw(local - len(rows), own)
                        crops, target = (torch.cat(pair) for pair in zip(asked, again, strict=True))
                    self.replay.add(*asked)
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.half):
                logits = self.learner(crops)
            loss = functional.cross_entropy(logits.float(), target)
            self.optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            progress = self._share(self.progress(index / steps, (time.monotonic_ns() - began) / 1e9))
            for group in self.optimizer.param_groups:
                group["lr"] = learning_rate(progress, config.rate) * group["factor"]
            if config.clip > 0:
                torch.nn.utils.clip_grad_norm_(self.model.parameters(), config.clip)
            self.optimizer.step()
            self.step += 1
            if self.rank == 0:
                self._follow()
            loss_sum += loss.item()
            if progress >= 1:
                break
        self.epoch += 1
        taken = (time.monotonic_ns() - began) / 1e9
        self.spent_s += taken
        return {
            "loss": loss_sum / (index + 1), "progress": progress, "crops_per_s": (index + 1) * config.batch / taken
        }  # fmt: skip

    @torch.no_grad()
    def _follow(self) -> None:
        # A young average would remember the random start: its memory grows with the run.
        decay = min(self.config.ema, (1 + self.step) / (10 + self.step))
        for name, value in self.model.state_dict().items():
            if value.is_floating_point():
                self.average[name].lerp_(value, 1 - decay)
            else:
                self.average[name].copy_(value)

    def averaged(self) -> FrameClassifier:
        """A copy of the model with the averaged weights."""
        model = FrameClassifier(build_encoder(self.model.encoder.config), len(SEVEN_CLASSES)).to(self.device)
        model.load_state_dict(self.average)
        return model

    def save(self, folder: Path, record: dict[str, Any]) -> None:
        """Write the whole state; a kill at any moment leaves the previous one or this one.

        Raises:
            CheckpointError: If it cannot be written; the previous one is whole.
        """
        moments = {
            f"{name}.{index}": value
            for index, state in self.optimizer.state_dict()["state"].items()
            for name, value in state.items()
            if value is not None
        }
        tensors = {f"model.{k}": v for k, v in self.model.state_dict().items()}
        tensors |= {f"average.{k}": v for k, v in self.average.items()} | moments
        head = {"epoch": self.epoch, "step": self.step, "spent_s": self.spent_s, "half": self.half, **record}
        write_tensors(folder / "last.safetensors", tensors, head)
        write_text(folder / "last.json", json.dumps(head, indent=1))

    def start_from(self, checkpoint: Path) -> None:
        """Take the averaged weights of another run, whose encoder may be shallower.

        Args:
            checkpoint: ``last.safetensors`` of that run.

        Raises:
            GrowError: Where they do not fit.
        """
        trained = read_average(checkpoint, str(self.device))
        self.model.load_state_dict(grown(trained, self.model.state_dict()))
        self.average = {k: v.detach().clone() for k, v in self.model.state_dict().items()}

    def start_pretrained(self, folder: Path) -> None:
        """Take the convolutions of a network that knows faces, see :mod:`train.models.compact.pretrained`.

        Raises:
            PretrainedError: Where they are missing, or the encoder is not of that network's shape.
        """
        encoder = self.model.encoder
        if not isinstance(encoder, SeparableEncoder):
            raise PretrainedError("pre-trained weights fit --encoder separable alone")
        rows = torch.arange(0, len(self.grey), max(len(self.grey) // 256, 1))
        crops = render(self.grey[rows], self.matrices[rows], encoder.config.size_px)
        start(encoder, read_graph(folder), crops.to(self.device))
        self.average = {k: v.detach().clone() for k, v in self.model.state_dict().items()}

    def resume(self, folder: Path) -> dict[str, Any]:
        """Take the state of :meth:`save` back.

        Returns:
            The record saved with it; empty where there is none.
        """
        path = folder / "last.safetensors"
        if not path.is_file():
            return {}
        tensors, record = load_file(path, str(self.device)), read_record(path)
        self.model.load_state_dict({k[6:]: v for k, v in tensors.items() if k.startswith("model.")})
        self.average = {k[8:]: v for k, v in tensors.items() if k.startswith("average.")}
        state = self.optimizer.state_dict()
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        for key, value in tensors.items():
            name, _, index = key.partition(".")
            if name in _MOMENTS:
                # In the parameter's own layout: another one rounds differently, and the run would not repeat exactly.
                kept = value if name == "step" else torch.empty_like(parameters[int(index)]).copy_(value)
                state["state"].setdefault(int(index), {})[name] = kept
        self.optimizer.load_state_dict(state)
        self.epoch, self.step, self.spent_s = record["epoch"], record["step"], record["spent_s"]
        # A trial at start may turn out differently on a busy machine; what was chosen first holds for the whole run.
        self.half = record.get("half", self.half)
        return record
