"""Small torch models of the shapes that real ones have: a CLIP-like encoder, a head with a cosine."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from engine.spec import SEVEN_CLASSES, CropGeometry, ModelSpec


def tiny_spec(unit: int = 1, window: int = 8, feature: int = 48, has_now: bool = True) -> ModelSpec:
    return ModelSpec(
        name="tiny",
        labels=SEVEN_CLASSES,
        unit=unit,
        window=window,
        hop=unit,
        sample_hz=8.0,
        feature=feature,
        has_now=has_now,
        crop=CropGeometry(size_px=32),
    )


class Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        b, n, d = x.shape
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        q, k, v = (t.reshape(b, n, self.heads, d // self.heads).transpose(1, 2) for t in (q, k, v))
        weights = ((q * (d // self.heads) ** -0.5) @ k.transpose(-1, -2)).softmax(-1)
        y: Tensor = self.out((weights @ v).transpose(1, 2).reshape(b, n, d))
        return y


class Block(nn.Module):
    def __init__(self, width: int, heads: int = 4) -> None:
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.ln_1(x))
        h = self.up(self.ln_2(x))
        y: Tensor = x + self.down(h * torch.sigmoid(1.702 * h))
        return y


class TinyEncoder(nn.Module):
    """A ViT of patch 8 on 32 px crops, uint8 in."""

    def __init__(self, spec: ModelSpec, width: int = 32, depth: int = 2) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(spec.mean).reshape(1, 1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(spec.std).reshape(1, 1, 3, 1, 1))
        self.mean: Tensor
        self.std: Tensor
        self.patch = nn.Conv2d(3, width, 8, 8, bias=False)
        self.cls = nn.Parameter(torch.randn(width))
        self.position = nn.Parameter(torch.randn(17, width) * 0.5)
        self.blocks = nn.ModuleList(Block(width) for _ in range(depth))
        self.ln_post = nn.LayerNorm(width)
        self.proj = nn.Linear(width, spec.feature, bias=False)

    def forward(self, crops: Tensor) -> Tensor:
        x = crops.permute(0, 1, 4, 2, 3).to(torch.float32) / 255
        x = (x - self.mean) / self.std
        b, u = x.shape[:2]
        x = self.patch(x.reshape(b * u, *x.shape[2:])).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls.expand(x.shape[0], 1, -1), x], 1) + self.position
        for block in self.blocks:
            x = block(x)
        y: Tensor = self.proj(self.ln_post(x[:, 0])).reshape(b, u, -1).mean(1)
        return y


class TinyHead(nn.Module):
    """One temporal layer, then the cosine with label features at temperature 0.01."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.spec = spec
        self.position = nn.Parameter(torch.randn(spec.window, spec.feature) * 0.02)
        self.layer = Block(spec.feature)
        self.labels = nn.Parameter(torch.randn(len(spec.labels), spec.feature))

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        x = self.layer(features + self.position).float()
        x = x * torch.rsqrt(x.square().sum(-1, keepdim=True) + 1e-12)
        y = self.labels.float()
        y = y * torch.rsqrt(y.square().sum(-1, keepdim=True) + 1e-12)
        scores = x @ y.T / 0.01  # (B, W, C)
        logits = scores.mean(1)
        relevance = scores.amax(-1).softmax(-1).repeat_interleave(self.spec.unit, dim=-1)
        return logits, relevance, scores[:, -1] if self.spec.has_now else None


def tiny_modules(spec: ModelSpec, seed: int = 0, depth: int = 2) -> tuple[TinyEncoder, TinyHead]:
    torch.manual_seed(seed)
    return TinyEncoder(spec, depth=depth).eval(), TinyHead(spec).eval()
