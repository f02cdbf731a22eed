"""The loss of clips: cross-entropy on distributions, with logit adjustment, and each model's own terms from its extras.

Nothing random is kept between steps: mixing and dropout of a step follow from (seed, step, process), as frames,
transforms and order of its clips do. So a run resumed from any checkpoint takes the same steps as an unbroken one.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from train.data.augment.mixing import mix_clips
from train.data.dataset import Batch
from train.models.window import ExpressionModel, WindowOutput
from train.settings import ObjectiveSettings, RunConfig
from train.training.distributed import Processes
from train.training.task import Autocast, Moment


def soft_targets(target: Tensor, classes: int, smoothing: float) -> Tensor:
    """Distributions ``(B, C)`` float32 of class numbers ``(B,)``, a share spread over all classes."""
    hot = functional.one_hot(target, classes).float()
    return hot * (1 - smoothing) + smoothing / classes


class Objective:
    """The training loss.

    Args:
        settings: Its weights.
        class_counts: ``(C,)`` training clips per class, for logit adjustment.
    """

    def __init__(self, settings: ObjectiveSettings, class_counts: np.ndarray) -> None:
        self.settings = settings
        share = np.maximum(class_counts, 1) / np.maximum(class_counts, 1).sum()
        self._log_prior = torch.from_numpy(np.log(share)).float()

    def __call__(
        self, output: WindowOutput, targets: Tensor, truth: Tensor | None = None, epoch: int = 0
    ) -> dict[str, Tensor]:
        """The loss and its terms.

        Args:
            output: The model's answer.
            targets: ``(B, C)`` distributions.
            truth: ``(B, T)``: 1 shows the expression, 0 does not, -1 unknown; or None.
            epoch: From 0, for terms that end.

        Returns:
            Scalars by name; ``total`` is what is minimised.
        """
        logits = output.logits.float()
        if self.settings.logit_adjustment:
            logits = logits + self.settings.logit_adjustment * self._log_prior.to(logits.device)
        terms = {"global": cross_entropy(functional.log_softmax(logits, dim=-1), targets)}
        total = terms["global"]
        local = output.extras.get("local_log_probs")
        until = self.settings.local_until_epoch
        if local is not None and self.settings.local_weight and (until == 0 or epoch < until):
            # DK-CLIP, eqs. 10 and 11: p_g is taken without logit adjustment, both carry gradients.
            global_log = functional.log_softmax(output.logits.float(), dim=-1)
            terms["local"] = cross_entropy(local.float(), targets)
            ordered = (global_log, local.float())
            first, second = ordered if self.settings.kl_direction == "global-local" else ordered[::-1]
            terms["consistency"] = (first.exp() * (first - second)).sum(dim=-1).mean()
            total = total + self.settings.local_weight * (terms["local"] + terms["consistency"])
        scores = output.extras.get("instance_logits")
        if self.settings.frame_weight and scores is not None and truth is not None:
            terms["frames"] = frame_loss(scores.float(), targets, truth)
            total = total + self.settings.frame_weight * terms["frames"]
        terms["total"] = total
        return terms


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


class ClipLesson:
    """What a batch of clips teaches: normalised, mixed, scored, and the loss of it.

    Args:
        config: The run.
        model: Whose mean and std its clips are normalised with.
        class_counts: ``(C,)`` training clips per class.
        processes: This process among all.
    """

    def __init__(
        self, config: RunConfig, model: ExpressionModel, class_counts: np.ndarray, processes: Processes
    ) -> None:
        self.config, self.model, self.processes = config, model, processes
        self.classes = len(class_counts)
        self.objective = Objective(config.objective, class_counts)

    def __call__(self, batch: Batch, learner: nn.Module, moment: Moment) -> dict[str, Tensor]:
        """Terms of the loss, see :class:`Objective`."""
        seed, rank = self.config.loop.seed, self.processes.rank
        if moment.part == 0:
            torch.manual_seed(_mix_seed(seed, moment.step, rank))
        batch = batch.to(self.processes.device)
        rng = np.random.default_rng([seed, 2, moment.step, moment.part, rank])
        targets = soft_targets(batch.target, self.classes, self.config.objective.label_smoothing)
        inputs, targets = mix_clips(normalise(batch.inputs, self.model), targets, self.config.mix, rng)
        with moment.autocast():
            output = learner(inputs)
        return self.objective(output, targets, batch.truth, moment.epoch)


def leaves_out(model: ExpressionModel, lesson: ClipLesson, batch: Batch) -> bool:
    """Whether a step leaves trained parameters without a gradient, tried on a copy of the model.

    Args:
        model: Left as it is.
        lesson: What is learned.
        batch: At least two clips, or features of clips.
    """
    copied = copy.deepcopy(model).train()
    terms = lesson(batch, WindowModel(copied), Moment(0, 0, 0, 0.0, contextlib.nullcontext))
    terms["total"].backward()  # type: ignore[no-untyped-call]
    return any(p.requires_grad and p.grad is None for p in copied.parameters())


def judge_clips(model: ExpressionModel, batches: Iterable[Batch], device: torch.device, autocast: Autocast) -> Tensor:
    """``(C, C)`` float64 counts of a model's answers to clips, rows true, columns predicted."""
    classes = len(model.spec().labels)
    counts = torch.zeros(classes, classes, dtype=torch.float64)
    for batch in batches:
        batch = batch.to(device)
        with autocast():
            output = WindowModel(model)(normalise(batch.inputs, model))
        pairs = batch.target * classes + output.logits.argmax(dim=-1)
        counts += torch.bincount(pairs.cpu(), minlength=classes**2).reshape(classes, classes)
    return counts


def cross_entropy(log_probs: Tensor, targets: Tensor) -> Tensor:
    """Mean over the batch of ``-sum targets * log_probs``; both ``(B, C)``."""
    return -(targets * log_probs).sum(dim=-1).mean()


def frame_loss(scores: Tensor, targets: Tensor, truth: Tensor) -> Tensor:
    """Binary cross-entropy between a frame's score for the clip's class, relative to the clip's mean, and its truth.

    Args:
        scores: ``(B, T, C)`` instance logits.
        targets: ``(B, C)`` distributions.
        truth: ``(B, T)``; frames below 0 are left out.

    Returns:
        Scalar; 0 where no truth is known.
    """
    own = torch.einsum("btc,bc->bt", scores, targets)
    relative = own - own.mean(dim=1, keepdim=True)
    known = truth >= 0
    loss = functional.binary_cross_entropy_with_logits(relative, truth.clamp(min=0), reduction="none")
    return (loss * known).sum() / known.sum().clamp(min=1)


def _mix_seed(*parts: int) -> int:
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> 1)
