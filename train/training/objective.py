"""The loss: cross-entropy on distributions, with logit adjustment, and each model's own terms from its extras."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from train.models.window import WindowOutput
from train.settings import ObjectiveSettings


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
