"""CLIP's image transformer, with room for tokens that frames exchange in every layer.

Frames are patches plus a class token. Two of the three models add one more token per frame and layer, made
from the class tokens of neighbouring frames, and drop it after the attention: an *exchange*, one module per
    layer, from class tokens
``(B, U, D)`` to extra tokens ``(B, U, D)`` over the U frames of a unit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn

from train.models.attention import CLIP_ACTIVATIONS, PreNormLayer
from train.models.clip.size import ClipSize
from train.models.precision import LayerNorm


class VisionTransformer(nn.Module):
    """The image half of CLIP (Radford et al. 2021): pre-norm, one joint feature per frame.

    Args:
        size: Shapes.
        exchange: Makes the exchange module of one layer; none if not given.
    """

    def __init__(self, size: ClipSize, exchange: Callable[[], nn.Module] | None = None) -> None:
        super().__init__()
        self.size = size
        self.patch = nn.Conv2d(3, size.width, size.patch_px, stride=size.patch_px, bias=False)
        self.class_token = nn.Parameter(torch.empty(size.width))
        self.position = nn.Parameter(torch.empty(size.tokens, size.width))
        self.pre_norm = LayerNorm(size.width)
        activation = CLIP_ACTIVATIONS[size.activation]
        self.layers = nn.ModuleList(
            PreNormLayer(size.width, size.heads, activation=activation) for _ in range(size.layers)
        )
        self.exchange = nn.ModuleList(exchange() for _ in range(size.layers)) if exchange else None
        self.post_norm = LayerNorm(size.width)
        self.projection = nn.Linear(size.width, size.joint, bias=False)
        initialise(self.layers, size.width)
        for vector in (self.class_token, self.position, self.projection.weight):
            nn.init.normal_(vector, std=size.width**-0.5)

    @property
    def blocks(self) -> list[PreNormLayer]:
        """The layers, first to last."""
        return cast("list[PreNormLayer]", list(self.layers))

    def tokens(self, frames: Tensor, unit: int = 1) -> Tensor:
        """Run all layers.

        Args:
            frames: ``(N, 3, S, S)`` normalised; N = B * unit, the frames of a unit in a row, oldest first.
            unit: U, frames that exchange tokens.

        Returns:
            ``(N, L, D)`` tokens after the last layer, class token first.
        """
        patches = self.patch(frames).flatten(2).transpose(1, 2)  # [N, L-1, D]
        first = self.class_token.to(patches.dtype).expand(patches.shape[0], 1, -1)
        x: Tensor = self.pre_norm(torch.cat([first, patches], dim=1) + self.position)
        for i, layer in enumerate(self.blocks):
            if self.exchange is None:
                x = layer.feed(layer.attend(x))
                continue
            extra = self.exchange[i](x[:, 0].reshape(-1, unit, self.size.width))  # [B, U, D]
            x = torch.cat([x, extra.reshape(-1, 1, self.size.width)], dim=1)
            x = layer.feed(layer.attend(x)[:, : self.size.tokens])
        return x

    def project(self, class_tokens: Tensor) -> Tensor:
        """Final norm and projection to the joint space: ``(..., D)`` to ``(..., d)``."""
        joint: Tensor = self.projection(self.post_norm(class_tokens))
        return joint

    def forward(self, frames: Tensor, unit: int = 1) -> Tensor:
        """Frame features: ``(N, 3, S, S)`` normalised to ``(N, d)``."""
        return self.project(self.tokens(frames, unit)[:, 0])


def initialise(layers: nn.ModuleList, width: int) -> None:
    """Give transformer layers CLIP's initial weights.

    Args:
        layers: The :class:`PreNormLayer` of one transformer.
        width: Its width.
    """
    residual = (2 * len(layers)) ** -0.5
    for layer in cast("list[PreNormLayer]", list(layers)):
        for linear in (layer.attention.q, layer.attention.k, layer.attention.v):
            nn.init.normal_(linear.weight, std=width**-0.5)
            nn.init.zeros_(linear.bias)
        nn.init.normal_(layer.attention.out.weight, std=width**-0.5 * residual)
        nn.init.normal_(layer.mlp.up.weight, std=(2 * width) ** -0.5)
        nn.init.normal_(layer.mlp.down.weight, std=width**-0.5 * residual)
        for linear in (layer.attention.out, layer.mlp.up, layer.mlp.down):
            nn.init.zeros_(linear.bias)
