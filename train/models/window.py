"""The shape all models share: unit encoder, then window head, with the text side folded for export.

A unit encoder takes ``(B, U, S, S, 3)`` crops to a feature ``(B, F)``; a window head takes ``(B, W, F)``
features to logits ``(B, C)`` and relevance ``(B, W*U)``. The rest of the system knows only this.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from engine.spec import CLIP_MEAN, CLIP_STD, ModelSpec
from train.models.clip.lora import merge_lora


class WindowOutput(NamedTuple):
    """What a window head answers.

    Attributes:
        logits: ``(B, C)`` float32, the temperature applied.
        relevance: ``(B, W*U)`` float32, at least 0, oldest sample first, not necessarily summing to 1.
        now: ``(B, C)`` float32 logits of the newest sample alone, or None where the model has none.
        extras: What the model's own loss or analysis needs, by name.
    """

    logits: Tensor
    relevance: Tensor
    now: Tensor | None
    extras: dict[str, Tensor]


class ExpressionModel(nn.Module):
    """A model of the expression in a window of face crops.

    Subclasses set :attr:`encoder` and :attr:`window_head` and implement :meth:`text_constants` and
    :meth:`spec`.

    Attributes:
        encoder: Unit encoder, ``(B, U, 3, S, S)`` normalised crops to ``(B, F)``.
        window_head: Module called as ``window_head(features, **constants) -> WindowOutput``.
        mean: Per-channel RGB mean of crops in [0, 1], ``(1, 1, 3, 1, 1)``.
        std: Likewise the standard deviation.
    """

    encoder: nn.Module
    window_head: nn.Module
    mean: Tensor
    std: Tensor

    def __init__(
        self,
        mean: tuple[float, float, float] = CLIP_MEAN,
        std: tuple[float, float, float] = CLIP_STD,
    ) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).reshape(1, 1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).reshape(1, 1, 3, 1, 1), persistent=False)

    def spec(self) -> ModelSpec:
        """What the runtime must know of this model."""
        raise TypeError(f"{type(self).__name__} must implement spec()")

    def text_constants(self) -> dict[str, Tensor]:
        """The text side: every tensor of the head that does not depend on the video, by argument name."""
        raise TypeError(f"{type(self).__name__} must implement text_constants()")

    def encode_units(self, crops: Tensor) -> Tensor:
        """Encode units of crops.

        Args:
            crops: ``(B, U, S, S, 3)`` uint8 RGB, or ``(B, U, 3, S, S)`` floating and already normalised.

        Returns:
            ``(B, F)`` features.
        """
        if crops.dtype == torch.uint8:
            crops = normalise(crops, self.mean, self.std).to(next(self.encoder.parameters()).dtype)
        features: Tensor = self.encoder(crops)
        return features

    def head(self, features: Tensor) -> WindowOutput:
        """Score windows of unit features ``(B, W, F)``, oldest first."""
        output: WindowOutput = self.window_head(features, **self.text_constants())
        return output

    def forward(self, clips: Tensor) -> WindowOutput:
        """Score whole windows of normalised crops.

        Args:
            clips: ``(B, T, 3, S, S)`` floating, T = U * W, oldest first.

        Returns:
            The head's answer.
        """
        spec = self.spec()
        features = self.encode_units(clips.reshape(-1, spec.unit, *clips.shape[2:]))
        return self.head(features.reshape(-1, spec.window, features.shape[-1]))

    def fold_text(self) -> dict[str, Tensor]:
        """The text side as constants: detached copies of :meth:`text_constants`."""
        with torch.no_grad():
            return {name: value.detach().clone() for name, value in self.text_constants().items()}

    def runtime_encoder(self) -> RuntimeEncoder:
        """The unit encoder as a module from uint8 crops, for export."""
        return RuntimeEncoder(merge_lora(self.encoder), self.mean, self.std)

    def runtime_head(self) -> RuntimeHead:
        """The window head with the text side folded in, for export."""
        return RuntimeHead(self.window_head, self.fold_text())


def normalise(crops: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Turn uint8 crops into what encoders expect.

    Args:
        crops: ``(B, U, S, S, 3)`` uint8 RGB.
        mean: ``(1, 1, 3, 1, 1)``.
        std: ``(1, 1, 3, 1, 1)``.

    Returns:
        ``(B, U, 3, S, S)`` float32.
    """
    # Cast first: TensorRT takes bytes at the edge of a network only.
    scaled = crops.to(torch.float32).permute(0, 1, 4, 2, 3) / 255
    return (scaled - mean.float()) / std.float()


class RuntimeEncoder(nn.Module):
    """``crops (B, U, S, S, 3) uint8 -> features (B, F)``, normalisation inside.

    Args:
        encoder: Unit encoder from normalised crops.
        mean: ``(1, 1, 3, 1, 1)``.
        std: ``(1, 1, 3, 1, 1)``.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, encoder: nn.Module, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        self.encoder = encoder
        self.register_buffer("mean", mean.clone())
        self.register_buffer("std", std.clone())

    def forward(self, crops: Tensor) -> Tensor:
        """Encode units of uint8 crops."""
        features: Tensor = self.encoder(normalise(crops, self.mean, self.std).to(next(self.encoder.parameters()).dtype))
        return features


class RuntimeHead(nn.Module):
    """``features (B, W, F) -> (logits, relevance[, now])``; no tokenizer, no text encoder.

    Args:
        window_head: The model's head.
        constants: The folded text side, by argument name of the head.
    """

    def __init__(self, window_head: nn.Module, constants: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.window_head = window_head
        self._names = tuple(constants)
        for name, value in constants.items():
            self.register_buffer(f"text_{name}", value)

    def forward(self, features: Tensor) -> tuple[Tensor, ...]:
        """Score windows of features, oldest first."""
        constants = {name: getattr(self, f"text_{name}") for name in self._names}
        output: WindowOutput = self.window_head(features, **constants)
        tensors = (output.logits.float(), output.relevance.float())
        return tensors if output.now is None else (*tensors, output.now.float())
