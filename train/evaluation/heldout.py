"""A run's test part: the clips it never saw, and the model's answers on them."""

from __future__ import annotations

from pathlib import Path

import torch

from train.data.dataset import ClipDataset
from train.data.parts import load_parts
from train.data.record import DataReport
from train.evaluation.predict import Predictions, predict
from train.models.window import ExpressionModel
from train.settings import DataSettings, RunConfig
from train.training.fit import load_run


def heldout_clips(
    config: RunConfig, model: ExpressionModel, data: DataSettings | None = None
) -> tuple[ClipDataset, tuple[DataReport, ...]]:
    """The test part of a run's data set, or of another one.

    Args:
        config: The run.
        model: For window and classes.
        data: Another data set, if not the run's.

    Returns:
        The clips as windows of centre frames, and the reports of the parts read.
    """
    settings = data or config.data
    spec = model.spec()
    parts = load_parts(settings, spec.samples, config.loop.seed, want_train=False)
    assert parts.test is not None
    return ClipDataset(parts.test, spec.labels, spec, config.loop.seed, padding=settings.padding), parts.reports


def predict_run(folder: Path, device: torch.device, weights: str | None = None) -> Predictions:
    """Answers of a finished run on its test part, kept in its folder.

    Args:
        folder: The run's folder.
        device: Where to compute.
        weights: Which weights; None for those the run selects.
    """
    name = (weights or "selected").removesuffix(".safetensors")
    kept = folder / f"predictions-{name}.npz"
    if kept.is_file():
        return Predictions.load(kept)
    model, config = load_run(folder, weights)
    dataset, _ = heldout_clips(config, model)
    found = predict(model, dataset, device, workers=config.data.workers)
    found.save(kept)
    return found
