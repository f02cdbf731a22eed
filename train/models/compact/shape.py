"""Shapes of the compact encoders, as settings: nothing here needs torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


class EncoderShape(Protocol):
    """What every encoder's configuration says, whatever its layers."""

    @property
    def size_px(self) -> int:
        """Side of the square crop the graph takes, px."""

    @property
    def feature(self) -> int:
        """D, numbers per feature."""

    @property
    def dropout(self) -> float:
        """Probability of dropping a feature before the classifier while training."""


@dataclass(frozen=True)
class EncoderConfig:
    """Shape of the residual encoder.

    Attributes:
        size_px: Side of the square crop the graph takes, px.
        widths: Channels of the stages; each stage but the first halves the side.
        depths: Residual blocks of each stage.
        feature: D, numbers per feature, at most 256.
        dropout: Probability of dropping a feature before the classifier while training.
        drop_path: Probability of skipping the last block while training; earlier blocks less, linearly.
    """

    size_px: int = 56
    widths: tuple[int, ...] = (32, 64, 160, 256)
    depths: tuple[int, ...] = (2, 3, 3, 1)
    feature: int = 128
    dropout: float = 0.1
    drop_path: float = 0.05


@dataclass(frozen=True)
class SeparableConfig:
    """Shape of the separable encoder.

    Attributes:
        size_px: Side of the square crop the graph takes, px.
        stem: Channels of the first convolution.
        widths: Channels of the blocks.
        strides: Stride of each block.
        taps: Blocks whose means over the crop make the feature.
        feature: D, numbers per feature, at most 256.
        dropout: Probability of dropping a tapped channel, and a feature before the classifier, while training.
    """

    size_px: int = 56
    stem: int = 32
    widths: tuple[int, ...] = (64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024)
    strides: tuple[int, ...] = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2)
    taps: tuple[int, ...] = (8, 10, 11)
    feature: int = 128
    dropout: float = 0.2
