"""The state of one training run of the encoder: a pass over the stills, averaged weights, checkpoints."""

from __future__ import annotations

import json
import math
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, distributed
from torch.nn import functional

from engine.spec import SEVEN_CLASSES, CropGeometry
from train.compact.augment import AugmentConfig, augment, crop_matrices
from train.compact.encoder import CompactEncoder, EncoderConfig, FrameClassifier
from train.compact.faces import Stills
from train.compact.grow import blended, grown


@dataclass(frozen=True)
class FitConfig:
    """Settings of one training run.

    Attributes:
        seed: Seed of everything random.
        epochs: Passes over the training stills; with ``minutes`` an upper bound.
        minutes: Wall-clock budget that the schedule spans instead of ``epochs``; 0 for none.
        batch: Crops per step over all processes.
        rate: Peak learning rate of SGD with Nesterov momentum 0.9.
        decay: Weight decay of matrices and kernels.
        rare: Power of a class's rarity in its stills' sampling weight: 0 samples evenly, 1 balances the classes.
        original: Weight of FER2013's original label beside the votes in that rarity. Targets stay votes, but more than
            twice as many stills were once labelled disgust as voters agree on, and the class lies between the two.
        slips: Votes for a class that are taken as a slip of the hand where there are no more of them and others remain;
            FER+'s own reading code (Barsoum et al., ICMI 2016) drops single votes.
        settle: Share of the run, at its end, with half the disturbance and without mixup.
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
    rate: float = 0.12
    decay: float = 5e-4
    rare: float = 0.5
    original: float = 0.3
    slips: int = 0
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


def sampling_weights(
    targets: NDArray[np.float32],
    power: float,
    original: NDArray[np.int64] | None = None,
    original_share: float = 0.0,
    certain: NDArray[np.float32] | None = None,
) -> NDArray[np.float64]:
    """Weight of each still: the rarity of the classes that its votes name.

    Args:
        targets: ``(N, C)`` soft targets.
        power: 0 to 1.
        original: ``(N,)`` class of another labelling, which counts with ``original_share`` beside the targets.
        original_share: 0 to 1.
        certain: ``(N,)`` factor on each weight, such as the share of votes that named an emotion at all.

    Returns:
        ``(N,)`` weights of mean 1.
    """
    rarity = (targets.mean(0).max() / np.maximum(targets.mean(0), 1e-9)) ** power
    named = targets.astype(np.float64)
    if original is not None:
        named = named * (1 - original_share) + np.eye(targets.shape[1])[original] * original_share
    weights = named @ rarity
    if certain is not None:
        weights = weights * certain
    return np.asarray(weights / weights.mean(), np.float64)


def without_slips(votes: NDArray[np.float32], slips: int) -> NDArray[np.float32]:
    """Votes without the classes that hardly anyone named; a still that would lose all its votes keeps them.

    Args:
        votes: ``(N, C)`` counts.
        slips: Counts up to this one are dropped; 0 drops none.

    Returns:
        ``(N, C)`` counts.
    """
    kept = np.where(votes <= slips, 0, votes)
    return np.asarray(np.where(kept.sum(1, keepdims=True) > 0, kept, votes), np.float32)


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


class CheckpointError(RuntimeError):
    """A checkpoint that cannot be read: the message names the file."""


def read_record(checkpoint: Path) -> dict[str, Any]:
    """What a run wrote beside its weights: epoch, settings, shape and history.

    Args:
        checkpoint: ``last.safetensors`` of a run.

    Raises:
        CheckpointError: Where the file is missing, broken or not of such a run.
    """
    try:
        with safe_open(checkpoint, "pt") as opened:
            record: dict[str, Any] = json.loads((opened.metadata() or {})["record"])
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise CheckpointError(f"{checkpoint} is no checkpoint of train.compact.fit: {error}") from error
    return record


def read_average(checkpoint: Path, device: str = "cpu") -> dict[str, Tensor]:
    """The averaged weights of a run's ``last.safetensors``."""
    return {k[8:]: v for k, v in load_file(checkpoint, device).items() if k.startswith("average.")}


def blend_runs(shallow: Path, deep: Path, share: float, out: Path) -> None:
    """Write the checkpoint between two runs, the second of which started from the first.

    Args:
        shallow: Folder of the first run.
        deep: Folder of the second.
        share: Of the second, see :func:`~train.compact.grow.blended`.
        out: Folder that gets ``last.safetensors``; it holds averaged weights alone, nothing to resume.

    Raises:
        CheckpointError: Where one of the two is missing or broken.
        GrowError: Where the second cannot have started from the first.
    """
    files = [folder / "last.safetensors" for folder in (shallow, deep)]
    record = {**read_record(files[1]), "blend": share}
    record.setdefault("start", {k: v for k, v in read_record(files[0]).items() if k not in ("history", "data_sha256")})
    weights = blended(read_average(files[0]), read_average(files[1]), share)
    out.mkdir(parents=True, exist_ok=True)
    temporary = out / "last.tmp"
    save_file({f"average.{k}": v.contiguous() for k, v in weights.items()}, temporary, {"record": json.dumps(record)})
    os.replace(temporary, out / "last.safetensors")


class Run:
    """One process of a training run.

    Args:
        config: Settings.
        shape: The encoder's shape.
        stills: Training stills without the held-out ones.
        device: Where to compute.
        rank: Which process.
        world: How many processes.
    """

    def __init__(
        self, config: FitConfig, shape: EncoderConfig, stills: Stills, device: str, rank: int = 0, world: int = 1
    ) -> None:
        self.config, self.rank, self.world, self.device = config, rank, world, torch.device(device)
        torch.manual_seed(config.seed)
        self.model = FrameClassifier(CompactEncoder(shape), len(SEVEN_CLASSES)).to(self.device)
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
        decayed = [p for p in self.model.parameters() if p.ndim > 1]
        others = [p for p in self.model.parameters() if p.ndim <= 1]
        self.optimizer = torch.optim.SGD(
            [{"params": decayed, "weight_decay": config.decay}, {"params": others, "weight_decay": 0.0}],
            lr=config.rate, momentum=0.9, nesterov=True,
        )  # fmt: skip
        self.augmentation = AugmentConfig()
        self.settled = self.augmentation.settled(0.5)
        # Where the processor multiplies bfloat16 itself, a step takes 0.6 of the time; elsewhere it takes longer.
        self.half = config.precision == "bfloat16"
        if config.precision == "auto":
            self.half = self.device.type == "cuda" or fast_bfloat16()
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
            rows = order[index * config.batch + self.rank * local :][:local]
            size = config.sizes[min(int(progress * len(config.sizes)), len(config.sizes) - 1)]
            target = self.targets[rows].to(self.device)
            with torch.no_grad():
                crops = augment(
                    self.grey[rows].to(self.device), self.matrices[rows].to(self.device), self.mean_matrix,
                    size, self.settled if progress >= 1 - config.settle else self.augmentation, own,
                )  # fmt: skip
                mixes = config.mixup > 0 and progress < 1 - config.settle
                if mixes and torch.rand((), generator=shared) < config.mixup_share:
                    gamma = torch._standard_gamma(torch.full((2,), config.mixup), generator=shared)
                    share = float(gamma[0] / gamma.sum())
                    crops = crops * share + crops.flip(0) * (1 - share)
                    target = target * share + target.flip(0) * (1 - share)
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.half):
                logits = self.model(crops)
            loss = functional.cross_entropy(logits.float(), target)
            self.optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            progress = self._share(self.progress(index / steps, (time.monotonic_ns() - began) / 1e9))
            for group in self.optimizer.param_groups:
                group["lr"] = learning_rate(progress, config.rate)
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
        model = FrameClassifier(CompactEncoder(self.model.encoder.config), len(SEVEN_CLASSES)).to(self.device)
        model.load_state_dict(self.average)
        return model

    def save(self, folder: Path, record: dict[str, Any]) -> None:
        """Write the whole state; a kill at any moment leaves the previous one or this one."""
        folder.mkdir(parents=True, exist_ok=True)
        momentum = {
            f"momentum.{i}": state["momentum_buffer"].contiguous()
            for i, state in self.optimizer.state_dict()["state"].items()
            if state.get("momentum_buffer") is not None
        }
        tensors = {f"model.{k}": v.contiguous() for k, v in self.model.state_dict().items()}
        tensors |= {f"average.{k}": v.contiguous() for k, v in self.average.items()} | momentum
        head = {"epoch": self.epoch, "step": self.step, "spent_s": self.spent_s, "half": self.half, **record}
        temporary = folder / "last.tmp"
        # The JSON travels inside the tensor file, so the two can never be of different epochs.
        save_file({k: v.clone() for k, v in tensors.items()}, temporary, {"record": json.dumps(head)})
        os.replace(temporary, folder / "last.safetensors")
        temporary.write_text(json.dumps(head, indent=1), encoding="utf-8")
        os.replace(temporary, folder / "last.json")

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
        state["state"] = {int(k[9:]): {"momentum_buffer": v} for k, v in tensors.items() if k.startswith("momentum.")}
        self.optimizer.load_state_dict(state)
        self.epoch, self.step, self.spent_s = record["epoch"], record["step"], record["spent_s"]
        # A trial at start may turn out differently on a busy machine; what was chosen first holds for the whole run.
        self.half = record.get("half", self.half)
        return record
