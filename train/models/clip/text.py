"""CLIP's text transformer and prompts with learned contexts in front of the text.

Text is encoded at training time only: after training its features are folded into constants of the head.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from engine.settings import SettingsError
from train.models.attention import CLIP_ACTIVATIONS, PreNormLayer
from train.models.clip.size import ClipSize
from train.models.clip.vision import initialise
from train.models.precision import LayerNorm


class TextTransformer(nn.Module):
    """The text half of CLIP (Radford et al. 2021): causal, pre-norm, read at the end-of-text token.

    Args:
        size: Shapes.
    """

    causal: Tensor

    def __init__(self, size: ClipSize) -> None:
        super().__init__()
        self.size = size
        self.tokens = nn.Embedding(size.vocabulary, size.text_width)
        self.position = nn.Parameter(torch.empty(size.context, size.text_width))
        activation = CLIP_ACTIVATIONS[size.activation]
        self.layers = nn.ModuleList(
            PreNormLayer(size.text_width, size.text_heads, activation=activation) for _ in range(size.text_layers)
        )
        self.final_norm = LayerNorm(size.text_width)
        self.projection = nn.Linear(size.text_width, size.joint, bias=False)
        causal = torch.full((size.context, size.context), float("-inf")).triu(1)
        self.register_buffer("causal", causal, persistent=False)
        initialise(self.layers, size.text_width)
        nn.init.normal_(self.tokens.weight, std=0.02)
        nn.init.normal_(self.position, std=0.01)
        nn.init.normal_(self.projection.weight, std=size.text_width**-0.5)

    def forward(self, ids: Tensor, contexts: Tensor | None = None) -> Tensor:
        """Encode texts.

        Args:
            ids: ``(C, context)`` int64: start, text, end, padding. The end is the largest id.
            contexts: ``(C, M, text_width)`` put between start and text; none if not given.

        Returns:
            ``(C, d)`` features, not normalised.
        """
        x = self.tokens(ids)  # [C, context, text_width]
        end = ids.argmax(dim=1)
        if contexts is not None:
            m = contexts.shape[1]
            x = torch.cat([x[:, :1], contexts.to(x.dtype), x[:, 1 : x.shape[1] - m]], dim=1)
            end = end + m
        # Attention is causal, so what follows the longest text's end cannot change any feature: leave it out.
        length = self.size.context if ids.is_meta else int(end.max()) + 1
        x = x[:, :length] + self.position[:length]
        mask = self.causal[:length, :length]
        for layer in self.layers:
            x = layer(x, mask)
        x = x[torch.arange(x.shape[0], device=x.device), end]
        joint: Tensor = self.projection(self.final_norm(x))
        return joint


class Prompts(nn.Module):
    """A set of texts, one per class, through a frozen text transformer that it does not own.

    Without contexts the features are computed once and kept until the transformer's weights change.

    Args:
        ids: Token ids, one row of equal length per class.
        width: Width of the text transformer.
        contexts: M, learned contexts per class (CoOp, Zhou et al. 2022, class-specific); 0 for none.

    Raises:
        SettingsError: If a text and its contexts do not fit.
    """

    ids: Tensor

    def __init__(self, ids: Sequence[Sequence[int]], width: int, contexts: int = 0) -> None:
        super().__init__()
        for row in ids:
            longest = max(range(len(row)), key=row.__getitem__) + 1
            if longest + contexts > len(row):
                raise SettingsError(
                    f"a text of {longest} tokens and {contexts} contexts exceed the {len(row)} tokens that are read",
                    "shorten the text or take fewer contexts",
                )
        self.register_buffer("ids", torch.tensor(ids, dtype=torch.int64))
        self.context = nn.Parameter(torch.randn(len(ids), contexts, width) * 0.02) if contexts else None
        self._kept: tuple[tuple[object, ...], Tensor] | None = None

    def encode(self, encoder: TextTransformer) -> Tensor:
        """Features ``(C, d)`` of the texts; gradients reach the contexts only."""
        if self.context is not None:
            features: Tensor = encoder(self.ids, self.context)
            return features
        weight = encoder.projection.weight
        key = (
            id(encoder),
            weight.data_ptr(),
            weight._version,
            self.ids._version,
            weight.dtype,
            weight.device,
        )
        if self._kept is None or self._kept[0] != key:
            with torch.no_grad():
                self._kept = (key, encoder(self.ids))
        return self._kept[1]
