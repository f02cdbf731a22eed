"""Attention and transformer layers shared by the CLIP backbone and the three models.

Attention is written out as ``(q * scale) @ k^T -> softmax -> @ v``, scaled once and before the first product:
the form that fuses in TensorRT and keeps the product inside half's range. ``scaled_dot_product_attention``
exports wrongly there.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from train.models.precision import LayerNorm


class QuickGELU(nn.Module):
    """``x * sigmoid(1.702 x)``, CLIP's activation."""

    def forward(self, x: Tensor) -> Tensor:
        """Element-wise, shape kept."""
        return x * torch.sigmoid(1.702 * x)


class TanhGELU(nn.GELU):
    """GELU in its tanh approximation: the temporal layers' activation in TG-DFER."""

    def __init__(self) -> None:
        super().__init__(approximate="tanh")


CLIP_ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {"quick_gelu": QuickGELU, "gelu": nn.GELU}
"""By the names that CLIP's configs use (:data:`train.models.clip.size.ACTIVATIONS`)."""


class Attention(nn.Module):
    """Multi-head attention with separate projections.

    Args:
        width: Width of queries and of the result.
        heads: Number of heads.
        head_width: Width of one head; ``width / heads`` if not given.
        qkv_bias: Whether query, key and value projections have a bias. The output projection always has one.
    """

    def __init__(self, width: int, heads: int, head_width: int | None = None, qkv_bias: bool = True) -> None:
        super().__init__()
        if head_width is None:
            if width % heads:
                raise ValueError(f"width {width} does not divide into {heads} heads: give head_width too")
            head_width = width // heads
        inner = heads * head_width
        self.heads, self.head_width = heads, head_width
        self.q = nn.Linear(width, inner, bias=qkv_bias)
        self.k = nn.Linear(width, inner, bias=qkv_bias)
        self.v = nn.Linear(width, inner, bias=qkv_bias)
        self.out = nn.Linear(inner, width)

    def _split(self, x: Tensor) -> Tensor:
        # [B, L, H*E] -> [B, H, L, E]; the batch is the only inferred axis, so exported graphs keep it
        # dynamic.
        return x.reshape(-1, x.shape[1], self.heads, self.head_width).transpose(1, 2)

    def forward(
        self,
        query: Tensor,
        key: Tensor | None = None,
        value: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """Attend.

        Args:
            query: ``(B, Lq, width)``.
            key: ``(B, Lk, width)``; the query itself if not given.
            value: ``(B, Lk, width)``; the key if not given.
            mask: Added to the scores before the softmax, broadcastable to ``(B, heads, Lq, Lk)``.

        Returns:
            ``(B, Lq, width)``.
        """
        key = query if key is None else key
        value = key if value is None else value
        q = self._split(self.q(query) * self.head_width**-0.5)
        k, v = self._split(self.k(key)), self._split(self.v(value))
        scores = q @ k.transpose(-1, -2)  # [B, H, Lq, Lk]
        if mask is not None:
            scores = scores + mask.to(scores.dtype)
        mixed = (scores.softmax(dim=-1) @ v).transpose(1, 2)
        out: Tensor = self.out(mixed.reshape(-1, query.shape[1], self.heads * self.head_width))
        return out


class Mlp(nn.Module):
    """Two linear layers with an activation between.

    Args:
        width: Width of the input, and of the output unless ``out`` is given.
        hidden: Width between the two layers.
        activation: Makes the activation module.
        out: Width of the output.
    """

    def __init__(
        self, width: int, hidden: int, activation: Callable[[], nn.Module] = QuickGELU, out: int | None = None
    ) -> None:
        super().__init__()
        self.up = nn.Linear(width, hidden)
        self.activation = activation()
        self.down = nn.Linear(hidden, out or width)

    def forward(self, x: Tensor) -> Tensor:
        """``(..., width)`` to ``(..., out)``."""
        return self.down(self.activation(self.up(x)))  # type: ignore[no-any-return]


class PreNormLayer(nn.Module):
    """A pre-norm transformer layer: ``x += attention(LN(x)); x += MLP(LN(x))``.

    Args:
        width: Token width.
        heads: Number of heads.
        head_width: Width of one head; ``width / heads`` if not given.
        mlp_width: Hidden width of the MLP; four times ``width`` if not given.
        qkv_bias: Whether query, key and value have a bias.
        activation: Makes the MLP's activation.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        head_width: int | None = None,
        mlp_width: int | None = None,
        qkv_bias: bool = True,
        activation: Callable[[], nn.Module] = QuickGELU,
    ) -> None:
        super().__init__()
        self.attention_norm = LayerNorm(width)
        self.attention = Attention(width, heads, head_width, qkv_bias)
        self.mlp_norm = LayerNorm(width)
        self.mlp = Mlp(width, mlp_width or 4 * width, activation)

    def attend(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """The first half: ``x + attention(LN(x))``, ``(B, L, width)`` kept."""
        mixed: Tensor = self.attention(self.attention_norm(x), mask=mask)
        return x + mixed

    def feed(self, x: Tensor) -> Tensor:
        """The second half: ``x + MLP(LN(x))``, ``(B, L, width)`` kept."""
        fed: Tensor = self.mlp(self.mlp_norm(x))
        return x + fed

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """``(B, L, width)`` to ``(B, L, width)``; ``mask`` is added to the attention scores."""
        return self.feed(self.attend(x, mask))
