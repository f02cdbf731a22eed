"""The few places where a model must compute in FP32 whatever the rest runs in.

At a temperature of 0.01 a cosine rounded to half precision moves a logit by 0.05, and a LayerNorm or an L2
norm over real CLIP activations leaves half's range before its square root. These steps are small, so they
cost nothing in FP32.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

_F = TypeVar("_F", bound=Callable[..., Any])


def full_precision(function: _F) -> _F:
    """Make a function of tensors compute in FP32, autocast or half weights notwithstanding.

    Floating-point tensor arguments are cast to FP32; autocast is switched off only where it is on, so that an
    exported graph of an FP32 model shows no trace of this.

    Args:
        function: A function whose positional arguments may be tensors.

    Returns:
        The wrapped function; its results stay FP32.
    """

    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        cast = [a.float() if isinstance(a, Tensor) and a.is_floating_point() else a for a in args]
        kind = next((a.device.type for a in args if isinstance(a, Tensor)), "cpu")
        if kind != "meta" and torch.is_autocast_enabled(kind):
            with torch.autocast(kind, enabled=False):
                return function(*cast, **kwargs)
        return function(*cast, **kwargs)

    return wrapped  # type: ignore[return-value]


@full_precision
def unit_length(x: Tensor) -> Tensor:
    """Scale vectors to length 1 in FP32.

    Args:
        x: ``(..., d)``, any floating dtype.

    Returns:
        ``(..., d)`` float32; a zero vector stays zero.
    """
    return x * torch.rsqrt(x.square().sum(dim=-1, keepdim=True) + 1e-12)


@full_precision
def cosine(a: Tensor, b: Tensor) -> Tensor:
    """Cosine of every row of ``a`` with every row of ``b`` in FP32.

    Args:
        a: ``(..., n, d)``.
        b: ``(..., m, d)``, broadcastable to ``a`` before the last two axes.

    Returns:
        ``(..., n, m)`` float32 in [-1, 1].
    """
    return unit_length(a) @ unit_length(b).transpose(-1, -2)


class LayerNorm(nn.LayerNorm):
    """LayerNorm over the last axis that computes in FP32 and answers in its input's dtype."""

    def forward(self, input: Tensor) -> Tensor:
        """``(..., width)`` to ``(..., width)``, dtype kept."""
        weight = self.weight.float() if self.weight is not None else None
        bias = self.bias.float() if self.bias is not None else None
        out = nn.functional.layer_norm(input.float(), self.normalized_shape, weight, bias, self.eps)
        return out.to(input.dtype)
