"""A wider view of faces: the encoder that teaches the compact one, which may start from a network that knows faces.

The stack is MobileNet's (Howard et al., arXiv:1704.04861, table 1) without its last block, so that it can start from
what a network of that shape learnt (:mod:`train.models.compact.pretrained`). What differs: the stem keeps the crop's
resolution, and features come from three depths, because the marks of an expression are smaller than a face.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from train.models.compact.encoder import GreyEncoder
from train.models.compact.shape import SeparableConfig


def pad_same(x: Tensor) -> Tensor:
    """Zeros around ``(B, C, H, H)`` before a strided 3x3 convolution: all of them behind an even side."""
    before = x.shape[-1] % 2
    return functional.pad(x, (before, 1, before, 1))


class SeparableBlock(nn.Module):
    """A 3x3 convolution of each channel and a 1x1 convolution across them, each normalised and clipped to [0, 6]."""

    def __init__(self, in_width: int, out_width: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        padding = 1 if stride == 1 else 0
        self.depthwise = nn.Conv2d(in_width, in_width, 3, stride, padding, groups=in_width, bias=False)
        self.norm1 = nn.BatchNorm2d(in_width)
        self.pointwise = nn.Conv2d(in_width, out_width, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(out_width)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C_in, H, W) -> (B, C_out, H / stride, W / stride)``."""
        y = functional.relu6(self.norm1(self.depthwise(x if self.stride == 1 else pad_same(x))))
        return functional.relu6(self.norm2(self.pointwise(y)))


class SeparableEncoder(GreyEncoder):
    """Crops in, one feature per crop out.

    Args:
        config: The encoder's shape.
    """

    config: SeparableConfig

    def __init__(self, config: SeparableConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or SeparableConfig()
        self.stem = nn.Conv2d(1, config.stem, 3, 1, 1, bias=False)
        self.stem_norm = nn.BatchNorm2d(config.stem)
        ins = (config.stem, *config.widths)
        self.blocks = nn.ModuleList(map(SeparableBlock, ins, config.widths, config.strides))
        tapped = sum(config.widths[tap] for tap in config.taps)
        self.level = nn.BatchNorm1d(tapped)
        self.dropout = nn.Dropout(config.dropout)
        self.project = nn.Linear(tapped, config.feature, bias=False)
        self.norm = nn.BatchNorm1d(config.feature)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    @property
    def separable(self) -> list[SeparableBlock]:
        """The blocks, with their type."""
        return [block for block in self.blocks if isinstance(block, SeparableBlock)]

    def features(self, x: Tensor) -> Tensor:
        """``(B, 1, S, S)`` standardised crops to ``(B, D)`` features."""
        x = functional.relu6(self.stem_norm(self.stem(x)))
        levels: list[Tensor] = []
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index in self.config.taps:
                levels.append(x.mean((2, 3)))
        features: Tensor = self.norm(self.project(self.dropout(self.level(torch.cat(levels, 1)))))
        return features
