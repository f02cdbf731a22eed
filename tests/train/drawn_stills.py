"""Stills of noise with drawn votes, and runs of the default model small enough for a test."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from train.data.layouts.ferplus import Stills
from train.default_model.recipe import StageConfig, read_stage
from train.default_model.stage import Stage, make_trainer
from train.models.compact.shape import EncoderConfig, SeparableConfig
from train.training.distributed import Processes
from train.training.loop import Trainer

ONE = Processes(0, 1, torch.device("cpu"))
POINTS = np.array([[14.8, 18.6], [32.5, 18.3], [23.7, 29.7], [16.8, 36.6], [31.1, 36.3]], np.float32)
TINY = EncoderConfig(size_px=40, widths=(8, 16), depths=(1, 1), feature=16)
TINY_SEPARABLE = SeparableConfig(size_px=40, stem=8, widths=(8, 16), strides=(2, 2), taps=(0, 1), feature=16)
SHAPES = (
    "residual.size_px=40", "residual.widths=8,16", "residual.depths=1,1", "residual.feature=16",
    "separable.size_px=40", "separable.stem=8", "separable.widths=8,16", "separable.strides=2,2", "separable.taps=0,1",
    "separable.feature=16",
)  # fmt: skip
"""TINY and TINY_SEPARABLE as settings."""
SHORT = (*SHAPES, "loop.epochs=1", "loop.batch=8", "loop.precision=fp32", "stills.validation=0", "stills.sizes=[40]")


def drawn_stills(count: int = 32) -> Stills:
    """So many stills, two to a twin cluster, each with votes for neutral and whatever was drawn."""
    rng = np.random.default_rng(0)
    votes = rng.integers(0, 6, (count, 10)).astype(np.float32)
    votes[:, 0] += 1
    return Stills(
        tuple(f"{i}.webp" for i in range(count)), rng.integers(0, 256, (count, 48, 48)).astype(np.uint8),
        np.repeat(POINTS[None], count, 0), np.ones(count, bool), votes, np.zeros(count, np.int64),
        np.arange(count) // 2, np.arange(count) % 2 == 0, "0" * 64,
    )  # fmt: skip


def short(*assignments: str, name: str = "base") -> StageConfig:
    """A recipe's settings for one short epoch of a tiny encoder."""
    return read_stage(name, (*SHORT, *assignments))


def trainer(out: Path, config: StageConfig, stills: Stills | None = None, **more: Any) -> Trainer:
    """The trainer of a short run in a folder."""
    stage = Stage(config, out, out, out, quiet=True, **more)
    return make_trainer(stage, drawn_stills() if stills is None else stills, ONE)


def losses_of(made: Trainer) -> list[float]:
    """Train, and the loss of every step."""
    step: Callable[[Any], dict[str, float]] = made.step
    losses: list[float] = []

    def heard(batches: Any) -> dict[str, float]:
        terms = step(batches)
        losses.append(terms["total"])
        return terms

    made.step = heard  # type: ignore[method-assign]
    made.fit()
    return losses
