"""The papers' training recipes as configuration, below any file or flag of one's own.

Rates of TG-DFER are the paper's, per part; DK-CLIP's batch of 8 with two accumulations is a batch of 16.
"""

from __future__ import annotations

from typing import Any

from train.config import merge
from train.settings import ConfigError

RECIPES: dict[str, dict[str, Any]] = {
    "tg-dfer": {
        "augment": {"crop_scale": [0.8, 1.0], "rotation_deg": 4.0, "flip": 0.5},
        "optim": {
            "name": "sgd", "lr": 1e-2, "momentum": 0.9, "weight_decay": 1e-4, "decay_vectors": True,
            "schedule": "milestones", "milestones": [30, 40], "gamma": 0.1,
        },
        "loop": {"epochs": 50, "batch": 48},
    },
    "dk-clip": {
        "mix": {"mixup": 0.8, "fmix": 1.0, "switch": 0.5},
        "objective": {"label_smoothing": 0.1, "local_weight": 1.0},
        "optim": {
            "name": "adamw", "lr": 2e-6, "betas": [0.9, 0.98], "weight_decay": 1e-3,
            "schedule": "cosine", "warmup_epochs": 5.0, "final_ratio": 0.01,
        },
        "loop": {"epochs": 50, "batch": 16, "accumulate": 2},
    },
    "clip-guided": {
        "augment": {"rotation_deg": 0.0},
        "optim": {
            "name": "adamw", "lr": 2e-5, "weight_decay": 5e-4,
            "schedule": "cosine", "warmup_epochs": 5.0, "final_ratio": 0.01,
        },
        "loop": {"epochs": 100, "batch": 32},
    },
}  # fmt: skip

PRETRAINED_RATES: dict[str, dict[str, float]] = {"tg-dfer": {"encoder": 1e-5, "text": 1e-3}}
"""Rates by part (parameter prefix) where the encoder starts from CLIP: at 1e-5 random weights would learn nothing."""


def recipe(name: str, pretrained: bool = False) -> dict[str, Any]:
    """The recipe of a model.

    Args:
        name: The model's name.
        pretrained: Whether its encoder starts from published weights.

    Raises:
        ConfigError: If the model is unknown.
    """
    if name not in RECIPES:
        raise ConfigError(f"model.name must be one of {', '.join(RECIPES)}, not {name!r}")
    groups = {"optim": {"groups": PRETRAINED_RATES.get(name, {})}} if pretrained else {}
    return merge({"model": {"name": name}, **RECIPES[name]}, groups)
