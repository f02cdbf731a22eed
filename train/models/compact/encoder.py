"""The compact image encoder: a small residual network over grey face crops.

Faces come from any camera, infrared ones included, and the training stills are grey, so the graph reduces colour to
luma before its first weight and standardises each crop, which takes exposure and contrast out of the picture.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from train.models.compact.shape import EncoderConfig, EncoderShape

LUMA = (0.299, 0.587, 0.114)
"""RGB weights of ITU-R BT.601 luma, the grey that common decoders produce."""


class SqueezeExcite(nn.Module):
    """Channel attention (Hu et al., CVPR 2018, eq. 3)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        hidden = max(width // 8, 8)
        self.down = nn.Linear(width, hidden)
        self.up = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """Weigh the channels of ``(B, C, H, W)`` by what the whole crop shows."""
        gate = self.up(functional.relu(self.down(x.mean((2, 3)))))
        return x * torch.sigmoid(gate)[:, :, None, None]


class Block(nn.Module):
    """Two 3x3 convolutions with batch normalisation and channel attention around a shortcut."""

    def __init__(self, in_width: int, out_width: int, stride: int, drop_path: float) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_width, out_width, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(out_width)
        self.conv2 = nn.Conv2d(out_width, out_width, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(out_width)
        self.attend = SqueezeExcite(out_width)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_width != out_width:
            # Pool, then project (ResNet-D): a strided 1x1 convolution would look at a quarter of the pixels only.
            pool: list[nn.Module] = []
            if stride > 1:
                pool.append(nn.AvgPool2d(stride, ceil_mode=True, count_include_pad=False))
            self.shortcut = nn.Sequential(
                *pool, nn.Conv2d(in_width, out_width, 1, bias=False), nn.BatchNorm2d(out_width)
            )
        self.drop_path = drop_path

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C_in, H, W) -> (B, C_out, H / stride, W / stride)``."""
        y = functional.relu(self.norm1(self.conv1(x)))
        y = self.attend(self.norm2(self.conv2(y)))
        if self.training and self.drop_path > 0:
            keep = torch.rand(len(y), 1, 1, 1, device=y.device) >= self.drop_path
            y = y * (keep / (1 - self.drop_path)).to(y.dtype)
        return functional.relu(self.shortcut(x) + y)


class GreyEncoder(nn.Module):
    """What any encoder here does before its first weight: colour to luma, each crop to mean 0 and deviation 1."""

    luma: Tensor
    config: EncoderShape

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("luma", torch.tensor(LUMA).reshape(1, 3, 1, 1), persistent=False)

    def grey(self, crops: Tensor) -> Tensor:
        """Colour crops to luma.

        Args:
            crops: ``(B, 3, S, S)`` float RGB in [0, 1].

        Returns:
            ``(B, 1, S, S)`` float32 in [0, 255].
        """
        return (crops.float() * (self.luma * 255)).sum(1, keepdim=True)

    def standardise(self, grey: Tensor) -> Tensor:
        """Each crop ``(B, 1, S, S)`` with mean 0 and deviation 1."""
        centred = grey - grey.mean((2, 3), keepdim=True)
        # A floor of two grey levels of 255 keeps an empty crop from becoming amplified noise.
        return centred / (centred.square().mean((2, 3), keepdim=True) + 4.0).sqrt()

    def encode_grey(self, grey: Tensor) -> Tensor:
        """Features of grey crops.

        Args:
            grey: ``(B, 1, S, S)`` float, any scale: each crop is standardised.

        Returns:
            ``(B, D)`` float.
        """
        x = self.standardise(grey)
        if x.device.type == "cpu":
            x = x.contiguous(memory_format=torch.channels_last)
        return self.features(x)

    def features(self, x: Tensor) -> Tensor:
        """``(B, 1, S, S)`` standardised crops to ``(B, D)`` features."""
        raise NotImplementedError

    def forward(self, crops: Tensor) -> Tensor:
        """``(B, 3, S, S)`` float RGB crops in [0, 1] to ``(B, D)`` features."""
        return self.encode_grey(self.grey(crops))


class CompactEncoder(GreyEncoder):
    """Crops in, one feature per crop out.

    Args:
        config: The encoder's shape.
    """

    config: EncoderConfig

    def __init__(self, config: EncoderConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or EncoderConfig()
        first = config.widths[0]
        self.stem = nn.Sequential(
            nn.Conv2d(1, first, 5, 2, 2, bias=False), nn.BatchNorm2d(first), nn.ReLU(inplace=True)
        )
        count, done, width = sum(config.depths), 0, first
        blocks: list[nn.Module] = []
        for stage, (out_width, depth) in enumerate(zip(config.widths, config.depths, strict=True)):
            for index in range(depth):
                stride = 2 if stage > 0 and index == 0 else 1
                blocks.append(Block(width, out_width, stride, config.drop_path * done / max(count - 1, 1)))
                width, done = out_width, done + 1
        self.blocks = nn.Sequential(*blocks)
        self.project = nn.Linear(width, config.feature, bias=False)
        self.norm = nn.BatchNorm1d(config.feature)
        self._initialise()

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, Block):
                # Each block starts as its shortcut: deeper stacks then train from the first step.
                nn.init.zeros_(module.norm2.weight)

    def features(self, x: Tensor) -> Tensor:
        """``(B, 1, S, S)`` standardised crops to ``(B, D)`` features."""
        x = self.blocks(self.stem(x))
        features: Tensor = self.norm(self.project(x.mean((2, 3))))
        return features


class FrameClassifier(nn.Module):
    """The encoder with a linear classifier over single frames: what the encoder is trained as.

    Args:
        encoder: The encoder.
        classes: C.
    """

    keep_statistics = False
    """Whether its normalisations answer as in evaluation while it trains: their statistics stay."""

    def __init__(self, encoder: GreyEncoder, classes: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.dropout = nn.Dropout(encoder.config.dropout)
        self.classify = nn.Linear(encoder.config.feature, classes)

    def forward(self, grey: Tensor, with_features: bool = False) -> Tensor | tuple[Tensor, Tensor]:
        """``(B, 1, S, S)`` grey crops to ``(B, C)`` logits; if asked for, with the ``(B, D)`` features before them."""
        features = self.encoder.encode_grey(grey)
        logits: Tensor = self.classify(self.dropout(features))
        return (logits, features) if with_features else logits

    def train(self, mode: bool = True) -> FrameClassifier:
        """As any module; but statistics that are kept stay."""
        super().train(mode)
        if self.keep_statistics:
            for module in self.modules():
                if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
                    module.eval()
        return self
