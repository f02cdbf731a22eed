"""DK-CLIP: domain knowledge enhanced vision-language model for dynamic facial expression recognition (2024).

Snippets of U frames exchange message tokens inside the image encoder (CFAM), a transformer layer integrates
the snippets (MSIM), snippets unlike the whole are erased, and what remains of the patches refines the texts
of the classes (CMAM).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from engine.spec import ModelSpec
from train.models.attention import Attention, Mlp, PreNormLayer
from train.models.clip.vision import VisionTransformer
from train.models.exchange import MessageExchange
from train.models.options import DkClipConfig
from train.models.precision import LayerNorm, cosine, full_precision
from train.models.prompts import action_units, class_names, descriptors
from train.models.text_side import LabelEmbeddings, PromptSet
from train.models.window import ExpressionModel, WindowOutput


class SnippetEncoder(nn.Module):
    """A snippet to one feature: its vector, then its mean patch tokens where CMAM needs them.

    Args:
        vision: The image encoder, with :class:`MessageExchange` where frames of a snippet exchange messages.
        unit: U.
        with_patches: Whether patch tokens are part of the feature.
    """

    def __init__(self, vision: VisionTransformer, unit: int, with_patches: bool) -> None:
        super().__init__()
        size = vision.size
        self.unit, self.joint, self.with_patches = unit, size.joint, with_patches
        self.vision = vision
        if with_patches:
            self.patch_norm = LayerNorm(size.width)
            self.patch_projection = nn.Linear(size.width, size.joint, bias=False)
        self.feature = size.joint * (size.tokens if with_patches else 1)

    def forward(self, crops: Tensor) -> Tensor:
        """``(B, U, 3, S, S)`` normalised to ``(B, F)``: s of eq. 5, then L-1 patch tokens of d each."""
        tokens = self.vision.tokens(crops.flatten(0, 1), self.unit)  # [B*U, L, D]
        joint = self.vision.project(tokens[:, 0]).reshape(-1, self.unit, self.joint).mean(dim=1)  # [B, d]
        if not self.with_patches:
            return joint
        patches: Tensor = self.patch_projection(self.patch_norm(tokens[:, 1:]))  # [B*U, L-1, d]
        patches = patches.reshape(-1, self.unit, (self.vision.size.tokens - 1) * self.joint).mean(dim=1)
        return torch.cat([joint, patches], dim=-1)


class SnippetIntegration(nn.Module):
    """MSIM (eq. 6): ``v = mean over snippets of Transformer(s + e) + s``; the outer residual is X-CLIP's.

    Args:
        window: N.
        width: d.
        heads: Heads of the layer.
        outer_residual: Whether s is added outside the layer; as printed it is not.
    """

    def __init__(self, window: int, width: int, heads: int, outer_residual: bool = True) -> None:
        super().__init__()
        self.outer_residual = outer_residual
        self.position = nn.Parameter(torch.randn(window, width) * 0.02)
        self.layer = PreNormLayer(width, heads)

    def forward(self, snippets: Tensor) -> Tensor:
        """``(B, N, d)`` to ``(B, d)``."""
        mixed: Tensor = self.layer(snippets + self.position)
        return (mixed + snippets if self.outer_residual else mixed).mean(dim=1)


class FrameTransformer(nn.Module):
    """One transformer layer over frames, read at a class token (Table 5, b).

    Args:
        window: Frames.
        width: d.
        heads: Heads of the layer.
    """

    def __init__(self, window: int, width: int, heads: int) -> None:
        super().__init__()
        self.class_token = nn.Parameter(torch.randn(width) * 0.02)
        self.position = nn.Parameter(torch.randn(window + 1, width) * 0.02)
        self.layer = PreNormLayer(width, heads)

    def forward(self, frames: Tensor) -> Tensor:
        """``(B, T, d)`` to ``(B, d)``."""
        first = self.class_token.expand(frames.shape[0], 1, -1)
        mixed: Tensor = self.layer(torch.cat([first, frames], dim=1) + self.position)
        return mixed[:, 0]


class PromptRefinement(nn.Module):
    """CMAM (eq. 8): texts query the patches of what was seen, ``c + gamma * CMAM(c, z)``.

    Args:
        width: d.
        heads: Heads of each layer.
        layers: Number of layers.
    """

    def __init__(self, width: int, heads: int, layers: int = 2) -> None:
        super().__init__()
        self.context_norm = LayerNorm(width)
        self.query_norms = nn.ModuleList(LayerNorm(width) for _ in range(layers))
        self.attentions = nn.ModuleList(Attention(width, heads, qkv_bias=False) for _ in range(layers))
        self.mlp_norms = nn.ModuleList(LayerNorm(width) for _ in range(layers))
        self.mlps = nn.ModuleList(Mlp(width, 4 * width) for _ in range(layers))
        self.gamma = nn.Parameter(torch.full((width,), 0.1))

    def forward(self, classes: Tensor, patches: Tensor) -> Tensor:
        """Class features ``(B, C, d)``, refined by patch tokens ``(B, L-1, d)``."""
        context = self.context_norm(patches)
        x = classes
        layers = zip(self.query_norms, self.attentions, self.mlp_norms, self.mlps, strict=True)
        for query_norm, attention, mlp_norm, mlp in layers:
            x = x + attention(query_norm(x), context)
            x = x + mlp(mlp_norm(x))
        return classes + self.gamma * x


@full_precision
def snippet_shares(snippets: Tensor, video: Tensor) -> Tensor:
    """a*: how much each snippet resembles the whole, as shares of 1 (section 3.5).

    Args:
        snippets: ``(B, N, d)``.
        video: ``(B, d)``.

    Returns:
        ``(B, N)`` float32 in (0, 1), summing to 1. Equal similarities give equal shares.
    """
    similarity = cosine(snippets, video[:, None]).squeeze(-1)
    low, high = similarity.amin(dim=1, keepdim=True), similarity.amax(dim=1, keepdim=True)
    shares: Tensor = ((similarity - low) / (high - low + 1e-6)).softmax(dim=1)
    return shares


def kept_snippets(shares: Tensor, threshold: float) -> Tensor:
    """Which snippets stay (eq. 9): those of at least theta, and always the one of the largest share.

    Args:
        shares: ``(B, N)`` a*.
        threshold: theta.

    Returns:
        ``(B, N)`` of 1 and 0 in the shares' dtype, at least one 1 per row.
    """
    most = shares.amax(dim=1, keepdim=True)
    return ((shares >= threshold) | (shares >= most)).to(shares.dtype)


class DkClipHead(nn.Module):
    """MSIM, noise reduction, CMAM and the scores (eqs. 6 to 10).

    Args:
        config: The model's choices.
        width: d.
        tokens: L, tokens per frame.
    """

    def __init__(self, config: DkClipConfig, width: int, tokens: int) -> None:
        super().__init__()
        self.config, self.width, self.patches = config, width, tokens - 1
        self.temporal: nn.Module | None = None
        if config.temporal == "hierarchical":
            self.temporal = SnippetIntegration(config.window, width, config.heads, config.outer_residual)
        elif config.temporal == "transformer":
            self.temporal = FrameTransformer(config.window, width, config.heads)
        self.refinement = PromptRefinement(width, config.heads) if config.cross_modal else None
        self.logit_scale = nn.Parameter(torch.tensor(2.6592600))

    def forward(self, features: Tensor, classes: Tensor) -> WindowOutput:
        """Score windows.

        Args:
            features: ``(B, N, F)`` snippet features, oldest first.
            classes: ``(C, d)`` text features c.

        Returns:
            Logits of p_g, relevance a* per frame, and in ``extras`` ``shares`` a* and ``kept`` (B, N), and
            with consistency ``local_log_probs`` (B, C) of eq. 10.
        """
        dtype = self.logit_scale.dtype
        features, classes = features.to(dtype), classes.to(dtype)
        snippets = features[..., : self.width]  # [B, N, d]
        video = self.temporal(snippets) if self.temporal is not None else snippets.mean(dim=1)  # [B, d]
        shares = snippet_shares(snippets, video)
        kept = kept_snippets(shares, self.config.threshold) if self.config.consistency else torch.ones_like(shares)
        refined = classes[None]
        if self.refinement is not None:
            patches = features[..., self.width :].reshape(-1, self.config.window, self.patches, self.width)
            weights = (kept / kept.sum(dim=1, keepdim=True)).to(dtype)
            # [B, L-1, d], the mean over kept snippets
            seen = (weights[:, :, None, None] * patches).sum(dim=1)
            refined = self.refinement(refined.expand(features.shape[0], -1, -1), seen)
        scale = self.logit_scale.float().exp()
        logits = scale * cosine(video[:, None], refined).squeeze(1)
        relevance = shares[:, :, None].expand(-1, -1, self.config.unit).flatten(1)
        extras = {"shares": shares, "kept": kept}
        if self.config.consistency:
            extras["local_log_probs"] = self.local(scale * cosine(snippets, refined), shares, kept)
        return WindowOutput(logits, relevance, None, extras)

    def local(self, logits: Tensor, shares: Tensor, kept: Tensor) -> Tensor:
        """The log of p_l (eq. 10).

        Args:
            logits: ``(B, N, C)`` of each snippet.
            shares: ``(B, N)`` a*.
            kept: ``(B, N)`` of 1 and 0.

        Returns:
            ``(B, C)``.
        """
        if self.config.local_fusion == "logits":
            return ((kept * shares)[:, :, None] * logits).sum(dim=1).log_softmax(dim=-1)
        weights = shares.log() + (kept - 1) * 1e4
        weights = weights.log_softmax(dim=1)
        return (weights[:, :, None] + logits.log_softmax(dim=-1)).logsumexp(dim=1)


def prompt_sets(config: DkClipConfig) -> dict[str, PromptSet]:
    """The texts of the classes (section 3.4, Tables 1 and 6)."""
    if config.prompt_text.startswith("aus-"):
        texts = action_units(config.labels, config.prompt_text.removeprefix("aus-"))
    else:
        texts = (descriptors if config.prompt_text == "descriptors" else class_names)(config.labels)
    return {"classes": PromptSet(texts, config.contexts)}


def exchange_of(config: DkClipConfig, width: int, heads: int) -> Callable[[], nn.Module] | None:
    """What makes one layer's exchange module, or None where frames exchange nothing."""
    if config.temporal not in ("cfam", "hierarchical"):
        return None
    return lambda: MessageExchange(width, heads)


class DkClip(ExpressionModel):
    """The whole model.

    Args:
        config: The model's choices.
        vision: The image encoder, with exchange modules where the configuration has them.
        text: Module whose call gives ``classes`` c, ``(C, d)``; label embeddings if not given.
    """

    encoder: SnippetEncoder

    def __init__(self, config: DkClipConfig, vision: VisionTransformer, text: nn.Module | None = None) -> None:
        super().__init__(config.mean, config.std)
        self.config = config
        self.encoder = SnippetEncoder(vision, config.unit, config.cross_modal)
        self.window_head = DkClipHead(config, vision.size.joint, vision.size.tokens)
        self.text = text or LabelEmbeddings(("classes",), len(config.labels), vision.size.joint)
        vision.patch.requires_grad_(False)

    def text_constants(self) -> dict[str, Tensor]:
        """c, the class features."""
        return {"classes": self.text()["classes"]}

    def spec(self) -> ModelSpec:
        """What the runtime must know: snippets of U frames, scored whenever one is full."""
        c = self.config
        return ModelSpec(
            name="dk-clip",
            labels=c.labels,
            unit=c.unit,
            window=c.window,
            hop=c.unit if c.window > 1 else c.hop,
            sample_hz=c.sample_hz,
            feature=self.encoder.feature,
            crop=c.crop,
            mean=c.mean,
            std=c.std,
        )
