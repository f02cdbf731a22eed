"""Options that every model has, and the checks that every configuration runs on construction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from engine.errors import DferError
from engine.spec import CLIP_MEAN, CLIP_STD, SEVEN_CLASSES, CropGeometry


class OptionError(DferError):
    """A model option that cannot be: the message names the option and what it must be."""


def choice(name: str, value: str, allowed: Sequence[str]) -> None:
    """Check that an option is one of a few words.

    Raises:
        OptionError: If it is not.
    """
    if value not in allowed:
        raise OptionError(f"{name} must be one of {', '.join(allowed)}, not {value!r}")


def in_range(name: str, value: float, low: float, high: float) -> None:
    """Check that an option lies in a closed range.

    Raises:
        OptionError: If it does not.
    """
    if not low <= value <= high:
        raise OptionError(f"{name} must be {low}..{high}, not {value}")


@dataclass(frozen=True)
class ModelOptions:
    """What all models' configurations share.

    Attributes:
        labels: Class names in the order of the logits.
        image_encoder: ``frozen``, ``tuned`` or ``lora``.
        lora_rank: Rank of the updates where the image encoder is ``lora``.
        crop: Crop geometry the encoder expects.
        mean: Per-channel RGB mean of crops in [0, 1].
        std: Per-channel RGB standard deviation.
    """

    labels: tuple[str, ...] = SEVEN_CLASSES
    image_encoder: str = "tuned"
    lora_rank: int = 16
    crop: CropGeometry = field(default_factory=CropGeometry)
    mean: tuple[float, float, float] = CLIP_MEAN
    std: tuple[float, float, float] = CLIP_STD

    def __post_init__(self) -> None:
        choice("image_encoder", self.image_encoder, ("frozen", "tuned", "lora"))
        in_range("lora_rank", self.lora_rank, 1, 256)
        if len(self.labels) < 2:
            raise OptionError(f"labels must be two or more class names, not {self.labels}")
