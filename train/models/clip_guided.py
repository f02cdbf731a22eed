"""CLIP-Guided bidirectional prompt and semantic supervision for dynamic facial expression recognition.

All T frames of a window exchange interaction tokens in every layer of the image encoder (InterFIT), so one
unit is one window. Max pools of three scales aggregate the frames (MSTA), and text and video refine each
other (BiEhPro).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from engine.spec import ModelSpec
from train.models.attention import Attention, Mlp
from train.models.clip.vision import VisionTransformer
from train.models.exchange import InteractionExchange
from train.models.options import ClipGuidedConfig
from train.models.precision import cosine
from train.models.prompts import class_names
from train.models.text_side import LabelEmbeddings, PromptSet
from train.models.window import ExpressionModel, WindowOutput


class WindowFrames(nn.Module):
    """A whole window to its frame features Z, flattened: ``(B, T, 3, S, S)`` to ``(B, T * d)``.

    Args:
        vision: The image encoder, with :class:`InteractionExchange` where InterFIT is on.
        frames: T.
    """

    def __init__(self, vision: VisionTransformer, frames: int) -> None:
        super().__init__()
        self.vision, self.frames = vision, frames
        self.feature = frames * vision.size.joint

    def forward(self, crops: Tensor) -> Tensor:
        """Encode windows."""
        features: Tensor = self.vision(crops.flatten(0, 1), self.frames)
        return features.reshape(-1, self.feature)


def pool_windows(frames: int, kernel: int, stride: int, pad: int) -> tuple[Tensor, Tensor]:
    """Which frames each position of a max pool looks at.

    Args:
        frames: T.
        kernel: Frames a position looks at.
        stride: Frames between positions.
        pad: Positions added at both ends; they never win.

    Returns:
        Frame numbers ``(T', kernel)`` int64, padding clamped to the nearest frame, and 1 where a number is no
        padding.
    """
    starts = torch.arange(-pad, frames + pad - kernel + 1, stride)
    numbers = starts[:, None] + torch.arange(kernel)
    real = (numbers >= 0) & (numbers < frames)
    return numbers.clamp(0, frames - 1), real.float()


class TemporalAggregation(nn.Module):
    """MSTA (eqs. 4 to 8): three max pools over time, mixed per channel and position, flattened to one vector.

    Args:
        frames: T.
        width: d.
        pad_second: Pad the second pool by one.
    """

    def __init__(self, frames: int, width: int, pad_second: bool) -> None:
        super().__init__()
        self.frames, self.length = frames, (frames - 5) // 3 + 1
        pools = ((5, 3, 0), (5, 3, int(pad_second)), (frames - self.length + 1, 1, 0))
        self.scales = len(pools)
        for i, (kernel, stride, pad) in enumerate(pools):
            numbers, real = pool_windows(frames, kernel, stride, pad)
            hit = (
                nn.functional.one_hot(numbers.flatten(), frames)
                if not numbers.is_meta
                else numbers.new_zeros(numbers.numel(), frames)
            )
            self.register_buffer(f"numbers{i}", numbers.flatten(), persistent=False)
            self.register_buffer(f"real{i}", real, persistent=False)
            self.register_buffer(f"frame_of{i}", hit.float(), persistent=False)
        self.weights = nn.ModuleList(nn.Linear(width, width) for _ in pools)
        self.out = nn.Linear(width * self.length, width)

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Aggregate.

        Args:
            frames: ``(B, T, d)``.

        Returns:
            V ``(B, d)``, and each frame's relevance ``(B, T)`` float32, summing to 1: the shares of the pools
            it wins, ties shared.
        """
        x = frames.transpose(1, 2)  # [B, d, T]
        width = x.shape[1]
        looked = [
            x.index_select(2, self.get_buffer(f"numbers{i}")).reshape(-1, width, self.length, self.kernel(i))
            for i in range(self.scales)
        ]
        pooled = [window.amax(dim=-1) for window in looked]  # [B, d, T']
        total = pooled[0] + pooled[1] + pooled[2]
        # [3, B, d, T']
        scores = torch.stack([fc(total.transpose(1, 2)).transpose(1, 2) for fc in self.weights])
        weights = scores.softmax(dim=0)
        mixed = (weights * torch.stack(pooled)).sum(dim=0)
        video: Tensor = self.out(mixed.flatten(1))
        return video, self.relevance(looked, pooled, weights.float())

    def kernel(self, scale: int) -> int:
        """Frames that a position of a scale looks at."""
        return self.get_buffer(f"real{scale}").shape[1]

    def relevance(self, looked: list[Tensor], pooled: list[Tensor], weights: Tensor) -> Tensor:
        """Which frames won the pools, by comparison rather than by a pool's indices; ``(B, T)``."""
        won: Tensor | None = None
        for i, (window, best) in enumerate(zip(looked, pooled, strict=True)):
            hit = (window >= best[..., None]).float() * self.get_buffer(f"real{i}").float()  # [B, d, T', k]
            share = (weights[i][..., None] * hit / hit.sum(dim=-1, keepdim=True)).mean(dim=1)  # [B, T', k]
            frames = share.flatten(1) @ self.get_buffer(f"frame_of{i}").float() / self.length  # [B, T]
            won = frames if won is None else won + frames
        if won is None:
            raise RuntimeError("no pools")
        return won


class PromptBlock(nn.Module):
    """One BiEhPro block (eq. 10): cross-attention and FFN with residuals, without norms.

    Args:
        config: Heads and their width; whether the video is refined too.
        width: d.
    """

    def __init__(self, config: ClipGuidedConfig, width: int) -> None:
        super().__init__()
        self.text_attention = Attention(width, config.heads, config.head_width)
        self.text_mlp = Mlp(width, 4 * width)
        self.video_attention = self.video_mlp = None
        if config.visual_prompt:
            self.video_attention = Attention(width, config.heads, config.head_width)
            self.video_mlp = Mlp(width, 4 * width)

    def forward(self, texts: Tensor, video: Tensor) -> tuple[Tensor, Tensor]:
        """Texts ``(B, C, d)`` and video ``(B, 1, d)`` to the same; each direction reads the block's input."""
        new_texts = texts + self.text_attention(texts, video)
        new_texts = new_texts + self.text_mlp(new_texts)
        if self.video_attention is None or self.video_mlp is None:
            return new_texts, video
        new_video = video + self.video_attention(video, texts)
        return new_texts, new_video + self.video_mlp(new_video)


class PromptEnhancement(nn.Module):
    """BiEhPro (eqs. 10, 11): texts and video refined by each other, added to what they were.

    Args:
        config: Blocks, heads and directions.
        width: d.
    """

    def __init__(self, config: ClipGuidedConfig, width: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(PromptBlock(config, width) for _ in range(config.blocks))
        self.alpha = nn.Parameter(torch.tensor(0.1))
        self.beta = nn.Parameter(torch.tensor(0.1)) if config.visual_prompt else None

    def forward(self, texts: Tensor, video: Tensor) -> tuple[Tensor, Tensor]:
        """Texts ``(B, C, d)`` and video ``(B, 1, d)`` to the same."""
        text_prompt, video_prompt = texts, video
        for block in self.blocks:
            text_prompt, video_prompt = block(text_prompt, video_prompt)
        enhanced = texts + self.alpha * text_prompt
        return enhanced, video if self.beta is None else video + self.beta * video_prompt


class ClipGuidedHead(nn.Module):
    """MSTA, BiEhPro and the scores.

    Args:
        config: The model's choices.
        width: d.
    """

    def __init__(self, config: ClipGuidedConfig, width: int) -> None:
        super().__init__()
        self.config, self.width = config, width
        self.aggregation = TemporalAggregation(config.frames, width, config.pad_second) if config.msta else None
        self.prompts = PromptEnhancement(config, width) if config.blocks else None
        self.classifier = None if config.text else nn.Linear(width, len(config.labels))
        self.logit_scale = nn.Parameter(torch.tensor(2.6592600)) if config.text else None

    def forward(self, features: Tensor, classes: Tensor | None = None) -> WindowOutput:
        """Score windows.

        Args:
            features: ``(B, 1, T * d)`` frame features of one window.
            classes: ``(C, d)`` text features K; None where classes are no texts.

        Returns:
            Logits, and which frames won MSTA's pools as relevance (uniform without MSTA).
        """
        features = features.to(next(self.parameters()).dtype)
        frames = features.reshape(-1, self.config.frames, self.width)
        if self.aggregation is not None:
            video, relevance = self.aggregation(frames)
        else:
            video = frames.mean(dim=1)
            relevance = torch.ones_like(frames[..., 0]).float() / self.config.frames
        if self.classifier is not None:
            return WindowOutput(self.classifier(video).float(), relevance, None, {})
        if classes is None or self.logit_scale is None:
            raise ValueError("classes are texts: give their features")
        texts, seen = classes.to(video.dtype)[None], video[:, None]  # [1, C, d], [B, 1, d]
        if self.prompts is not None:
            texts, seen = self.prompts(texts.expand(features.shape[0], -1, -1), seen)
        logits = self.logit_scale.float().exp() * cosine(seen, texts).squeeze(1)
        return WindowOutput(logits, relevance, None, {})


def prompt_sets(config: ClipGuidedConfig) -> dict[str, PromptSet]:
    """The texts of the classes: their names alone (eq. 9)."""
    return {"classes": PromptSet(class_names(config.labels))} if config.text else {}


def exchange_of(config: ClipGuidedConfig, width: int, heads: int) -> Callable[[], nn.Module] | None:
    """What makes one layer's exchange module, or None where frames exchange nothing."""
    if not config.interfit:
        return None
    return lambda: InteractionExchange(width, heads)


class ClipGuided(ExpressionModel):
    """The whole model.

    Args:
        config: The model's choices.
        vision: The image encoder, with exchange modules where InterFIT is on.
        text: Module whose call gives ``classes`` K, ``(C, d)``; label embeddings if not given.
    """

    encoder: WindowFrames

    def __init__(self, config: ClipGuidedConfig, vision: VisionTransformer, text: nn.Module | None = None) -> None:
        super().__init__(config.mean, config.std)
        self.config = config
        self.encoder = WindowFrames(vision, config.frames)
        self.window_head = ClipGuidedHead(config, vision.size.joint)
        self.text = None
        if config.text:
            self.text = text or LabelEmbeddings(("classes",), len(config.labels), vision.size.joint)

    def text_constants(self) -> dict[str, Tensor]:
        """K, the class features; nothing where classes are no texts."""
        return {} if self.text is None else {"classes": self.text()["classes"]}

    def spec(self) -> ModelSpec:
        """What the runtime must know: one unit is the whole window, encoded anew at every hop."""
        c = self.config
        return ModelSpec(
            name="clip-guided",
            labels=c.labels,
            unit=c.frames,
            window=1,
            hop=c.hop,
            sample_hz=c.sample_hz,
            feature=self.encoder.feature,
            crop=c.crop,
            mean=c.mean,
            std=c.std,
        )
