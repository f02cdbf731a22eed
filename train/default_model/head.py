"""Train TG-DFER's window head on composed clips over the frozen encoder.

The head is the paper's (``train/models/tg_dfer.py``) with learned label embeddings and attention pooling. Besides the
clip's soft label it learns from what composed clips know: each frame's own label (so that ``now`` and a repeated still
answer as the single-frame classifier does) and which frames carry the clip's label (so that the pool and the relevance
look there). The last two are auxiliary losses on synthetic truth.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from engine.spec import CropGeometry
from train.data.augment.compose import Clips, FeatureBank, compose, compose_morphs, pad_prefixes
from train.data.layouts.ferplus import Stills
from train.data.stills import sampling_weights
from train.models.compact.encoder import GreyEncoder
from train.models.options import TgDferConfig
from train.models.tg_dfer import TgDfer
from train.models.window import WindowOutput
from train.training.optimizer import one_cycle


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


def rarity_bias(stills: Stills, rare: float, common: float = 0.0) -> tuple[float, ...]:
    """Logit adjustment (Menon et al., ICLR 2021, eq. 9) in two parts.

    A class counts as rare where it has less than half of an even share of the votes. Raising those to that share costs
    the common classes little, while the rest of the adjustment trades neutral faces for sad and angry ones and costs
    about as many right answers as it brings.

    Args:
        stills: Training stills.
        rare: How far the rare classes are raised: 1 makes them as likely beforehand as half an even share.
        common: How far differences above that share are evened out. 1 and 1 are the whole adjustment.

    Returns:
        One number per class; empty where both powers are 0.
    """
    if not rare and not common:
        return ()
    voted = stills.seven[stills.seven.sum(1) > 0]
    share = np.maximum((voted / voted.sum(1, keepdims=True)).mean(0), 1 / len(voted))
    floor = 0.5 / len(share)
    even = -np.log(np.maximum(share, floor))
    bias = common * (even - even.mean()) + rare * np.maximum(np.log(floor / share), 0)
    return tuple(float(one) for one in bias)


def assemble(
    encoder: GreyEncoder,
    size_px: int,
    window: int = 16,
    sample_hz: float = 8.0,
    class_bias: tuple[float, ...] = (),
) -> TgDfer:
    """TG-DFER around the compact encoder: no text encoder, attention pooling, heads that fit d.

    Args:
        encoder: The trained encoder.
        size_px: Side of the crops.
        window: T, frames of a window.
        sample_hz: Samples per second.
        class_bias: Of :func:`rarity_bias`.

    Returns:
        The model with a fresh head.
    """
    config = TgDferConfig(
        frames=window, sample_hz=sample_hz, heads=4, pool="attention", temperature=0.05, image_encoder="frozen",
        crop=CropGeometry(size_px=size_px), mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), class_bias=class_bias,
    )  # fmt: skip
    return TgDfer(config, encoder, encoder.config.feature)


class WindowModel(Protocol):
    """What is trained on composed clips: the TG-DFER head, or the baseline it must beat."""

    def head(self, features: Tensor) -> WindowOutput:
        """Score windows ``(B, W, D)``; ``extras`` has ``instance_logits`` ``(B, W, C)``."""

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Parameters by name."""

    def train(self, mode: bool = True) -> object:
        """Switch to training."""

    def eval(self) -> object:
        """Switch to scoring."""


class FrameMean(nn.Module):
    """The baseline: every frame scored alone by a perceptron, the window by the mean of its frames' logits.

    Args:
        width: d.
        classes: C.
        parameters: How many parameters to come near to, those of the head it is compared with.
        class_bias: The same as that head's, or none.
    """

    bias: Tensor

    def __init__(self, width: int, classes: int, parameters: int, class_bias: tuple[float, ...] = ()) -> None:
        super().__init__()
        self.register_buffer("bias", torch.tensor(class_bias or (0.0,) * classes), persistent=False)
        # width*h + h*h + h*classes + 2*h + classes = parameters
        half = (width + classes + 2) / 2
        hidden = round(math.sqrt(half * half + parameters - classes) - half)
        self.frame = nn.Sequential(
            nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, hidden), nn.GELU(), nn.Linear(hidden, classes)
        )

    def frame_logits(self, features: Tensor) -> Tensor:
        """``(..., D)`` to ``(..., C)``."""
        logits: Tensor = self.frame(features) + self.bias
        return logits

    def head(self, features: Tensor) -> WindowOutput:
        """Score windows ``(B, W, D)``; relevance is each frame's logit of the predicted class."""
        scores = self.frame_logits(features)
        bag = scores.mean(1)
        predicted = bag.argmax(-1)[:, None, None].expand(-1, scores.shape[1], -1)
        relevance = torch.gather(scores, 2, predicted).squeeze(-1)
        return WindowOutput(bag, relevance, scores[:, -1], {"instance_logits": scores})


def head_parameters(model: WindowModel) -> list[nn.Parameter]:
    """Everything but the frozen encoder."""
    return [p for name, p in model.named_parameters() if not name.startswith("encoder.")]


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


def train_head(model: WindowModel, bank: FeatureBank, classify: nn.Linear, config: HeadConfig) -> list[float]:
    """Train the head in place, the encoder untouched.

    Args:
        model: The assembled model.
        bank: Features of training stills.
        classify: The encoder's own classifier: the frames' teacher.
        config: Settings.

    Returns:
        Mean loss of every hundred steps.
    """
    torch.manual_seed(config.seed)
    rng = np.random.default_rng(config.seed)
    weights = sampling_weights(bank.targets, config.rare)
    weights = weights / weights.sum()
    trained = head_parameters(model)
    optimizer = torch.optim.AdamW(trained, lr=config.rate, weight_decay=config.decay)
    model.train()
    history, total = [], 0.0
    for step in range(config.steps):
        clips = draw(bank, config, weights, rng)
        with torch.no_grad():
            teacher = classify(torch.from_numpy(clips.features).to(classify.weight.device)).softmax(-1)
        loss = clip_loss(model, clips, config, teacher)
        for group in optimizer.param_groups:
            group["lr"] = config.rate * one_cycle(step / config.steps)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        total += loss.item()
        if (step + 1) % 100 == 0:
            history.append(total / 100)
            print(f"{type(model).__name__} step {step + 1}/{config.steps} loss {history[-1]:.4f}", flush=True)
            total = 0.0
    model.eval()
    return history


@torch.inference_mode()
def score(model: WindowModel, features: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
    """Logits ``(B, C)``, relevance ``(B, W)`` and ``now`` ``(B, C)`` of windows ``(B, W, D)``."""
    model.eval()
    device = next(iter(head_parameters(model))).device
    parts = []
    for start in range(0, len(features), 512):
        output = model.head(torch.from_numpy(features[start : start + 512]).to(device))
        now = output.extras["instance_logits"][:, -1]
        parts.append((output.logits.cpu(), output.relevance.cpu(), now.cpu()))
    return tuple(torch.cat(column).numpy() for column in zip(*parts, strict=True))
