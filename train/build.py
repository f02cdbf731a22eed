"""From settings to a model, seeded, with the weights it starts from."""

from __future__ import annotations

from pathlib import Path

import torch

from engine.spec import SEVEN_CLASSES, CropGeometry
from train.checkpoint import load_tensors, restore_model
from train.clip.size import SIZES
from train.clip.vision import VisionTransformer
from train.config import ConfigError, ModelSettings, from_mapping
from train.models.tg_dfer import TgDfer, TgDferConfig
from train.models.window import ExpressionModel


def build_model(settings: ModelSettings, labels: tuple[str, ...] | None, seed: int) -> ExpressionModel:
    """Build a model with reproducible initial weights."""
    torch.manual_seed(seed)
    size = SIZES[settings.encoder]
    if settings.name != "tg-dfer":
        raise ConfigError(settings.name)
    values = {"labels": list(labels or SEVEN_CLASSES), "crop": {"size_px": size.image_px}, **settings.options}
    config = from_mapping(TgDferConfig, values, "model.options")
    return TgDfer(config, VisionTransformer(size), size.joint)


def load_bundle_weights(model: ExpressionModel, path: Path) -> None:
    tensors, _ = load_tensors(path)
    restore_model(model, tensors, path, strict=False)


_ = CropGeometry
