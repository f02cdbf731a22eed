"""Train the window head on composed clips over the frozen encoder.

Besides the clip's soft label it learns from what composed clips know: each frame's own label (so that ``now`` and a
repeated still answer as the single-frame classifier does) and which frames carry the clip's label (so that the pool and
the relevance look there). The last two are auxiliary losses on synthetic truth.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from engine.spec import SEVEN_CLASSES
from train.data.augment.compose import Clips, FeatureBank, compose, compose_morphs, pad_prefixes
from train.data.stills import sampling_weights
from train.default_model.head import FrameMean, WindowModel, head_parameters
from train.models.tg_dfer import TgDfer
from train.settings import LoopSettings, OptimSettings
from train.training.distributed import Processes
from train.training.loop import Trainer
from train.training.progress import Reporter
from train.training.task import Moment, Task


@dataclass(frozen=True)
class HeadConfig:
    """Settings of the head's training.

    Attributes:
        seed: Seed of everything random.
        steps: Optimizer steps.
        batch: Clips per step.
        rate: Peak learning rate of AdamW.
        decay: Weight decay.
        clean: Share of clips without noise.
        morph: Share of clips that fade between stills.
        young: Share of clips that are padded prefixes.
        teacher: Share of the encoder's own classifier in the frames' targets.
        frames: Weight of the loss on single frames.
        truth: Weight of the losses on the known frame truth.
        rare: Power of a class's rarity in the sampling of faces.
    """

    seed: int = 1
    steps: int = 3000
    batch: int = 96
    rate: float = 1e-3
    decay: float = 0.02
    clean: float = 0.25
    morph: float = 0.15
    young: float = 0.15
    teacher: float = 0.5
    frames: float = 0.5
    truth: float = 0.3
    rare: float = 0.5

    @property
    def optim(self) -> OptimSettings:
        """AdamW with one cycle; everything decays."""
        return OptimSettings(
            lr=self.rate, betas=(0.9, 0.999), weight_decay=self.decay, decay_vectors=True, schedule="one-cycle",
            clip_norm=1.0,
        )  # fmt: skip

    @property
    def loop(self) -> LoopSettings:
        """One epoch, for clips are composed anew in every step."""
        return LoopSettings(epochs=1, batch=self.batch, select="last", seed=self.seed)


def draw(bank: FeatureBank, config: HeadConfig, weights: NDArray[np.float64], rng: np.random.Generator) -> Clips:
    """One batch of training clips: noisy, clean and morphing ones, some of them young windows."""
    morphs = int(round(config.batch * config.morph))
    count = config.batch - morphs
    faces = rng.choice(len(weights), count, p=weights)
    noise = np.where(rng.random(count) < config.clean / (1 - config.morph), 0, rng.integers(2, 15, size=count))
    steady = float(rng.choice([0.0, 0.5, 1.0]))
    parts = [compose(bank, faces, noise, rng, steady=steady), compose_morphs(bank, morphs, rng)]
    joined = Clips(*(np.concatenate([getattr(p, name) for p in parts]) for name in Clips.__dataclass_fields__))
    return pad_prefixes(joined, config.young, rng)


def truth_loss(scores: Tensor, truth: Tensor) -> Tensor:
    """How much of a softmax over frames misses the true ones, and how unevenly it treats them.

    Args:
        scores: ``(B, W)`` scores of frames before the softmax.
        truth: ``(B, W)`` bool with at least one true frame each.

    Returns:
        Mean cross-entropy against even weights on the true frames.
    """
    even = truth.float() / truth.sum(1, keepdim=True)
    return -(even * scores.log_softmax(1)).sum(1).mean()


def clip_loss(model: WindowModel, clips: Clips, config: HeadConfig, teacher: Tensor | None = None) -> Tensor:
    """The training loss of a batch of composed clips."""
    device = next(iter(head_parameters(model))).device
    features = torch.from_numpy(clips.features).to(device)
    target = torch.from_numpy(clips.target.astype(np.float32)).to(device)
    frame_target = torch.from_numpy(clips.frame_target.astype(np.float32)).to(device)
    truth = torch.from_numpy(clips.truth).to(device)
    gates: list[Tensor] = []
    hook = None
    if isinstance(model, TgDfer):
        pool = model.window_head.get_submodule("pool_score")
        hook = pool.register_forward_hook(lambda _module, _inputs, gate: gates.append(gate))
    output = model.head(features)
    if hook is not None:
        hook.remove()
    instances = output.extras["instance_logits"]  # [B, T, C]
    loss = functional.cross_entropy(output.logits, target)
    if teacher is not None:
        frame_target = frame_target * (1 - config.teacher) + teacher * config.teacher
    loss = loss + config.frames * functional.cross_entropy(instances.flatten(0, 1), frame_target.flatten(0, 1))
    if gates and config.truth > 0:
        chosen = target.argmax(1)[:, None, None].expand(-1, instances.shape[1], -1)
        named = torch.gather(instances, 2, chosen).squeeze(-1)
        loss = loss + config.truth * (truth_loss(gates[0].squeeze(-1), truth) + truth_loss(named, truth))
    return loss


class ComposedClips:
    """Batches of clips composed from a bank, as the training loop takes them."""

    exact = False

    def __init__(self, bank: FeatureBank, config: HeadConfig) -> None:
        self.bank, self.config, self.steps = bank, config, config.steps

    def start(self, _epoch: int, _step: int) -> None:
        """There is one epoch, and it begins at its beginning."""
        torch.manual_seed(self.config.seed)

    def __iter__(self) -> Iterator[Clips]:
        rng = np.random.default_rng(self.config.seed)
        weights = sampling_weights(self.bank.targets, self.config.rare)
        weights = weights / weights.sum()
        for _ in range(self.steps):
            yield draw(self.bank, self.config, weights, rng)


class _Hundreds(Reporter):
    """Says and keeps the mean loss of every hundred steps."""

    def __init__(self, name: str, steps: int) -> None:
        self.name, self.steps, self.total = name, steps, 0.0
        self.history: list[float] = []

    def step(self, done: int, terms: Mapping[str, float], rate: float) -> None:
        self.total += terms["total"]
        if done % 100 == 0:
            self.history.append(self.total / 100)
            print(f"{self.name} step {done}/{self.steps} loss {self.history[-1]:.4f}", flush=True)
            self.total = 0.0


def train_head(
    model: TgDfer | FrameMean, bank: FeatureBank, classify: nn.Linear, config: HeadConfig, out: Path
) -> list[float]:
    """Train the head in place, the encoder untouched.

    Args:
        model: The assembled model, or the baseline.
        bank: Features of training stills.
        classify: The encoder's own classifier: the frames' teacher.
        config: Settings.
        out: Folder that gets ``last.safetensors``, the weights without the encoder's; its facts hold `config`.

    Returns:
        Mean loss of every hundred steps.
    """
    parts = nn.ModuleDict({name: part for name, part in model.named_children() if name != "encoder"})

    def lesson(clips: Clips, _parts: nn.Module, _moment: Moment) -> dict[str, Tensor]:
        with torch.no_grad():
            teacher = classify(torch.from_numpy(clips.features).to(classify.weight.device)).softmax(-1)
        return {"total": clip_loss(model, clips, config, teacher)}

    clips = ComposedClips(bank, config)
    task = Task(parts, parts, SEVEN_CLASSES, clips, clips, lesson, about={"head": asdict(config)})
    said = _Hundreds(type(model).__name__, config.steps)
    Trainer(config, task, out, Processes(0, 1, classify.weight.device), said).fit()
    model.eval()
    return said.history
