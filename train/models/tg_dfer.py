"""TG-DFER: text-guided weakly supervised dynamic facial expression recognition (Jung, Kong, Lee 2025).

A clip is a bag of T frames. Every frame is encoded alone (U = 1), a multi-grained temporal network mixes the
window, label features are refined by what the window shows, and every frame is scored against them; the bag's
score is a pool of those.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from engine.spec import ModelSpec
from train.models.attention import Mlp, PreNormLayer, TanhGELU
from train.models.options import TgDferConfig
from train.models.precision import cosine, full_precision, unit_length
from train.models.prompts import class_names, descriptors
from train.models.text_side import LabelEmbeddings, PromptSet
from train.models.window import ExpressionModel, WindowOutput


def segment_starts(frames: int, width: int, stride: int) -> list[int]:
    """First frames of the segments (eq. 3), every frame covered.

    Args:
        frames: T.
        width: w.
        stride: s; 0 means s = w.

    Returns:
        Starts in order; one more segment at T - w follows where the last would end before T.
    """
    starts = list(range(0, frames - width + 1, stride or width))
    if starts[-1] + width < frames:
        starts.append(frames - width)
    return starts


def overlap_matrix(frames: int, starts: list[int], width: int) -> Tensor:
    """The fixed average of the overlapping copies of each frame.

    Equation 5 cannot concatenate N*w rows with T as printed; this matrix takes the N*w rows back to T.

    Args:
        frames: T.
        starts: First frames of the N segments.
        width: w.

    Returns:
        ``(T, N*w)`` float32, rows summing to 1.
    """
    matrix = torch.zeros(frames, len(starts) * width)
    for i, start in enumerate(starts):
        for j in range(width):
            matrix[start + j, i * width + j] = 1.0
    return matrix / matrix.sum(dim=1, keepdim=True)


class FineBranch(nn.Module):
    """Transformer layers within overlapping segments, averaged back to frames (eqs. 2, 3)."""

    frame_of: Tensor
    average: Tensor

    def __init__(self, config: TgDferConfig, width: int) -> None:
        super().__init__()
        starts = segment_starts(config.frames, config.segment_width, config.segment_stride)
        self.frames, self.segment_width, self.segments = config.frames, config.segment_width, len(starts)
        self.position = nn.Parameter(torch.randn(config.segment_width, width) * 0.02)
        self.layers = nn.ModuleList(_temporal_layer(config, width) for _ in range(config.fine_depth))
        frame_of = [start + j for start in starts for j in range(config.segment_width)]
        self.register_buffer("frame_of", torch.tensor(frame_of), persistent=False)
        self.register_buffer("average", overlap_matrix(config.frames, starts, config.segment_width), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, T, d)`` to ``(B, T, d)``."""
        width = x.shape[-1]
        y = x.index_select(1, self.frame_of).reshape(-1, self.segment_width, width)  # [B*N, w, d]
        y = y + self.position
        for layer in self.layers:
            y = layer(y)
        y = y.reshape(-1, self.segments * self.segment_width, width)
        return self.average.to(y.dtype) @ y


class CoarseBranch(nn.Module):
    """Transformer layers over all frames of the window (eq. 4)."""

    def __init__(self, config: TgDferConfig, width: int) -> None:
        super().__init__()
        self.position = nn.Parameter(torch.randn(config.frames, width) * 0.02)
        self.layers = nn.ModuleList(_temporal_layer(config, width) for _ in range(config.coarse_depth))

    def forward(self, x: Tensor) -> Tensor:
        """``(B, T, d)`` to ``(B, T, d)``."""
        x = x + self.position
        for layer in self.layers:
            x = layer(x)
        return x


def _temporal_layer(config: TgDferConfig, width: int) -> PreNormLayer:
    hidden = round(config.temporal_mlp * width)
    return PreNormLayer(width, config.heads, config.head_width, hidden, qkv_bias=False, activation=TanhGELU)


class TgDferHead(nn.Module):
    """Multi-grained temporal network, visual prompt and instance scores (eqs. 2 to 12).

    Args:
        config: The head's choices.
        width: d, width of frame features and of label features.
    """

    class_bias: Tensor

    def __init__(self, config: TgDferConfig, width: int) -> None:
        super().__init__()
        self.config, self.width = config, width
        self.fine = FineBranch(config, width) if config.fine_depth else None
        self.coarse = CoarseBranch(config, width) if config.coarse_depth else None
        branches = int(self.fine is not None) + int(self.coarse is not None)
        self.mix = nn.Linear(branches * width, width) if branches else None
        prompt_width = 2 * width if config.visual_prompt == "prepend" else width
        self.refine = Mlp(prompt_width, 4 * width, out=width)
        if config.pool == "attention":
            self.pool_hidden = nn.Linear(width, max(width // 4, 1))
            # No bias: a softmax over frames is blind to it.
            self.pool_score = nn.Linear(max(width // 4, 1), 1, bias=False)
        if config.class_bias:
            self.register_buffer("class_bias", torch.tensor(config.class_bias), persistent=False)

    def forward(self, features: Tensor, fine_prompt: Tensor, coarse_prompt: Tensor) -> WindowOutput:
        """Score windows.

        Args:
            features: ``(B, T, d)`` frame features X^v, oldest first.
            fine_prompt: ``(C, d)`` X^FP of length 1.
            coarse_prompt: ``(C, d)`` X^CP of length 1.

        Returns:
            Bag logits, relevance (softmax over frames, sums to 1), logits of the newest frame, and in
            ``extras`` the ``instance_logits`` (B, T, C) and the refined label features ``labels`` (B, C, d).
        """
        features = features.to(self.refine.up.weight.dtype)
        instances = self.temporal(features)  # [B, T, d]
        labels = self.refined_labels(instances, fine_prompt, coarse_prompt)  # [B, C, d]
        scores = cosine(instances, labels) / self.config.temperature  # [B, T, C], FP32
        if self.config.class_bias:
            scores = scores + self.class_bias
        bag = self.pool(scores, instances)
        # Equation 12 is not per frame as printed: the score of the predicted class, softmax over frames.
        predicted = bag.argmax(dim=-1)[:, None, None]  # [B, 1, 1]
        predicted = predicted.expand(-1, self.config.frames, -1)
        influence = torch.gather(scores, 2, predicted).squeeze(-1)  # [B, T]
        if self.config.influence != "all":
            bag = self.influential(scores, influence)
        extras = {"instance_logits": scores, "labels": labels}
        return WindowOutput(bag, influence.softmax(dim=-1), scores[:, -1], extras)

    def temporal(self, x: Tensor) -> Tensor:
        """X^I: fine and coarse branches, concatenated and mixed (eq. 5). ``(B, T, d)`` to ``(B, T, d)``."""
        branches = [branch(x) for branch in (self.fine, self.coarse) if branch is not None]
        if self.mix is None:
            return x
        mixed: Tensor = self.mix(torch.cat(branches, dim=-1) if len(branches) > 1 else branches[0])
        return mixed

    def refined_labels(self, instances: Tensor, fine_prompt: Tensor, coarse_prompt: Tensor) -> Tensor:
        """Label features refined by the window (eqs. 7 to 10), ``(B, C, d)``; B = 1 without it."""
        dtype = instances.dtype
        fine, coarse = fine_prompt.to(dtype)[None], coarse_prompt.to(dtype)[None]  # [1, C, d]
        if self.config.visual_prompt == "none":
            alone: Tensor = self.refine(fine) + coarse
            return alone
        visual = self.visual_prompt(instances, fine_prompt).to(dtype)  # [B, C, d]
        if self.config.visual_prompt == "add":
            mixed = fine + visual
        else:
            mixed = torch.cat([visual, fine.expand_as(visual)], dim=-1)
        refined: Tensor = self.refine(mixed) + coarse
        return refined

    def visual_prompt(self, instances: Tensor, fine_prompt: Tensor) -> Tensor:
        """V^P (eqs. 7, 8): frames weighed by their cosine to each label, ``(B, C, d)`` float32 of length 1.

        The temperature cancels under the norm, so it is left out unless the weights are a softmax. In FP16
        the weighted sum would overflow before the norm: it is FP32 throughout.
        """
        weights = cosine(instances, fine_prompt).transpose(1, 2)  # [B, C, T]
        if self.config.visual_softmax:
            weights = (weights / self.config.temperature).softmax(dim=-1)
        visual: Tensor = _weighted_direction(weights, instances)
        return visual

    def pool(self, scores: Tensor, instances: Tensor) -> Tensor:
        """Bag logits from instance logits ``(B, T, C)``: ``(B, C)``. Equation 11 leaves the pooling open."""
        if self.config.pool == "mean":
            return scores.mean(dim=1)
        if self.config.pool == "topk":
            return scores.topk(self.config.pool_k, dim=1).values.mean(dim=1)
        if self.config.pool == "logsumexp":
            # The log of the mean, so that equal frames give their own score whatever T is.
            return scores.logsumexp(dim=1) - math.log(self.config.frames)
        gate: Tensor = self.pool_score(torch.tanh(self.pool_hidden(instances)))  # [B, T, 1]
        return (gate.float().softmax(dim=1) * scores).sum(dim=1)

    def influential(self, scores: Tensor, influence: Tensor) -> Tensor:
        """Bag logits of the k frames of highest or lowest influence (Table 6).

        Args:
            scores: ``(B, T, C)`` instance logits.
            influence: ``(B, T)`` logit of the class predicted from all frames; never of the true one.

        Returns:
            ``(B, C)``.
        """
        highest = self.config.influence == "highest"
        kept = influence.topk(self.config.influence_k, dim=1, largest=highest).indices  # [B, k]
        return torch.gather(scores, 1, kept[:, :, None].expand(-1, -1, scores.shape[2])).mean(dim=1)


@full_precision
def _weighted_direction(weights: Tensor, instances: Tensor) -> Tensor:
    direction: Tensor = unit_length(weights @ instances)
    return direction


def prompt_sets(config: TgDferConfig) -> dict[str, PromptSet]:
    """The texts of X^FP and X^CP (section 3.3.1, Table 5)."""
    texts = descriptors(config.labels) if config.prompt_text == "descriptors" else class_names(config.labels)
    fine = PromptSet(texts, config.contexts if config.prompt_learnable else 0)
    return {"fine": fine, "coarse": PromptSet(class_names(config.labels))}


class SingleFrames(nn.Module):
    """A frame encoder as a unit encoder of U = 1: ``(B, 1, 3, S, S)`` to ``(B, d)``.

    Args:
        backbone: ``(N, 3, S, S)`` to ``(N, d)``.
    """

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, crops: Tensor) -> Tensor:
        """Encode units of one frame."""
        features: Tensor = self.backbone(crops[:, 0])
        return features


class TgDfer(ExpressionModel):
    """The whole model.

    Args:
        config: The head's choices.
        backbone: Frame encoder, ``(N, 3, S, S)`` normalised to ``(N, width)``.
        width: d, width of the frame features.
        text: Module whose call gives (X^FP, X^CP), ``(C, d)`` each, before the L2 norm; label embeddings if
            not given.
    """

    def __init__(self, config: TgDferConfig, backbone: nn.Module, width: int, text: nn.Module | None = None) -> None:
        super().__init__(config.mean, config.std)
        self.config, self.width = config, width
        self.encoder = SingleFrames(backbone)
        self.window_head = TgDferHead(config, width)
        self.text = text or LabelEmbeddings(("fine", "coarse"), len(config.labels), width)

    def text_constants(self) -> dict[str, Tensor]:
        """X^FP and X^CP, both of length 1."""
        features = self.text()
        return {f"{name}_prompt": unit_length(features[name]) for name in ("fine", "coarse")}

    def spec(self) -> ModelSpec:
        """What the runtime must know: one frame per unit, T units per window, a score of the newest frame."""
        c = self.config
        return ModelSpec(
            name="tg-dfer",
            labels=c.labels,
            unit=1,
            window=c.frames,
            hop=1,
            sample_hz=c.sample_hz,
            feature=self.width,
            has_now=True,
            crop=c.crop,
            mean=c.mean,
            std=c.std,
        )
