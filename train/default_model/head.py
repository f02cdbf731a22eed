"""TG-DFER's window head over the compact encoder, and the baseline that it must beat.

The head is the paper's (``train/models/tg_dfer.py``) with learned label embeddings and attention pooling.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from engine.spec import CropGeometry
from train.data.layouts.ferplus import Stills
from train.models.compact.encoder import GreyEncoder
from train.models.options import TgDferConfig
from train.models.tg_dfer import TgDfer
from train.models.window import WindowOutput


def rarity_bias(stills: Stills, rare: float, common: float = 0.0) -> tuple[float, ...]:
    """Logit adjustment (Menon et al., ICLR 2021, eq. 9) in two parts.

    A class counts as rare where it has less than half of an even share of the votes. Raising those to that share costs
    the common classes little, while the rest of the adjustment trades neutral faces for sad and angry ones and costs
    about as many right answers as it brings.

    Args:
        stills: Training stills.
        rare: How far the rare classes are raised: 1 makes them as likely beforehand as half an even share.
        common: How far differences above that share are evened out. 1 and 1 are the whole adjustment.

    Returns:
        One number per class; empty where both powers are 0.
    """
    if not rare and not common:
        return ()
    voted = stills.seven[stills.seven.sum(1) > 0]
    share = np.maximum((voted / voted.sum(1, keepdims=True)).mean(0), 1 / len(voted))
    floor = 0.5 / len(share)
    even = -np.log(np.maximum(share, floor))
    bias = common * (even - even.mean()) + rare * np.maximum(np.log(floor / share), 0)
    return tuple(float(one) for one in bias)


def assemble(
    encoder: GreyEncoder,
    size_px: int,
    window: int = 16,
    sample_hz: float = 8.0,
    class_bias: tuple[float, ...] = (),
) -> TgDfer:
    """TG-DFER around the compact encoder: no text encoder, attention pooling, heads that fit d.

    Args:
        encoder: The trained encoder.
        size_px: Side of the crops.
        window: T, frames of a window.
        sample_hz: Samples per second.
        class_bias: Of :func:`rarity_bias`.

    Returns:
        The model with a fresh head.
    """
    config = TgDferConfig(
        frames=window, sample_hz=sample_hz, heads=4, pool="attention", temperature=0.05, image_encoder="frozen",
        crop=CropGeometry(size_px=size_px), mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), class_bias=class_bias,
    )  # fmt: skip
    return TgDfer(config, encoder, encoder.config.feature)


class WindowModel(Protocol):
    """What is trained on composed clips: the TG-DFER head, or the baseline it must beat."""

    def head(self, features: Tensor) -> WindowOutput:
        """Score windows ``(B, W, D)``; ``extras`` has ``instance_logits`` ``(B, W, C)``."""

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Parameters by name."""

    def train(self, mode: bool = True) -> object:
        """Switch to training."""

    def eval(self) -> object:
        """Switch to scoring."""


class FrameMean(nn.Module):
    """The baseline: every frame scored alone by a perceptron, the window by the mean of its frames' logits.

    Args:
        width: d.
        classes: C.
        parameters: How many parameters to come near to, those of the head it is compared with.
        class_bias: The same as that head's, or none.
    """

    bias: Tensor

    def __init__(self, width: int, classes: int, parameters: int, class_bias: tuple[float, ...] = ()) -> None:
        super().__init__()
        self.register_buffer("bias", torch.tensor(class_bias or (0.0,) * classes), persistent=False)
        # width*h + h*h + h*classes + 2*h + classes = parameters
        half = (width + classes + 2) / 2
        hidden = round(math.sqrt(half * half + parameters - classes) - half)
        self.frame = nn.Sequential(
            nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, hidden), nn.GELU(), nn.Linear(hidden, classes)
        )

    def frame_logits(self, features: Tensor) -> Tensor:
        """``(..., D)`` to ``(..., C)``."""
        logits: Tensor = self.frame(features) + self.bias
        return logits

    def head(self, features: Tensor) -> WindowOutput:
        """Score windows ``(B, W, D)``; relevance is each frame's logit of the predicted class."""
        scores = self.frame_logits(features)
        bag = scores.mean(1)
        predicted = bag.argmax(-1)[:, None, None].expand(-1, scores.shape[1], -1)
        relevance = torch.gather(scores, 2, predicted).squeeze(-1)
        return WindowOutput(bag, relevance, scores[:, -1], {"instance_logits": scores})


def head_parameters(model: WindowModel) -> list[nn.Parameter]:
    """Everything but the frozen encoder."""
    return [p for name, p in model.named_parameters() if not name.startswith("encoder.")]


@torch.inference_mode()
def score(model: WindowModel, features: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
    """Logits ``(B, C)``, relevance ``(B, W)`` and ``now`` ``(B, C)`` of windows ``(B, W, D)``."""
    model.eval()
    device = next(iter(head_parameters(model))).device
    parts = []
    for start in range(0, len(features), 512):
        output = model.head(torch.from_numpy(features[start : start + 512]).to(device))
        now = output.extras["instance_logits"][:, -1]
        parts.append((output.logits.cpu(), output.relevance.cpu(), now.cpu()))
    return tuple(torch.cat(column).numpy() for column in zip(*parts, strict=True))
