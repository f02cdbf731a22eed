"""From settings to a model with reproducible initial weights."""

from __future__ import annotations

import torch

from train.models.registry import build
from train.models.window import ExpressionModel
from train.settings import ModelSettings


def build_model(settings: ModelSettings, labels: tuple[str, ...], seed: int) -> ExpressionModel:
    """Build a model.

    Args:
        settings: Which one.
        labels: Class names in the order of the logits.
        seed: Of the initial weights; the same in every process.

    Raises:
        OptionError: On an unknown name or option.
        ClipWeightsError: If CLIP's weights cannot be used.
    """
    torch.manual_seed(seed)
    options = {**settings.options, "labels": tuple(labels)}
    return build(settings.name, settings.encoder, options, settings.weights or None, settings.text_side)
