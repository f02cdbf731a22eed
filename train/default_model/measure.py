"""How good a bundle is: accuracy on stills through the exported graphs, intervals, and the window head's own worth."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from calibration.metrics import (
    Interval,
    clip_auroc,
    confusion_matrix,
    paired_uar_gain,
    uar,
    war_and_uar_intervals,
)
from engine.backends import Backend
from engine.spec import SEVEN_CLASSES, CropGeometry
from stream.window.crop import crop_face
from train.data.augment.compose import NOISE_KINDS, FeatureBank, compose
from train.data.layouts.ferplus import Stills
from train.default_model.head import FrameMean, score
from train.models.tg_dfer import TgDfer


def still_crops(stills: Stills, geometry: CropGeometry) -> NDArray[np.uint8]:
    """Aligned crops ``(N, 1, S, S, 3)`` uint8 of stills by the daemon's own function."""
    crops = [
        crop_face(np.repeat(grey[..., None], 3, axis=2), points, geometry)
        for grey, points in zip(stills.grey, stills.points, strict=True)
    ]
    return np.stack(crops)[:, None]


def still_logits(backend: Backend, crops: NDArray[np.uint8], window: int, batch: int = 64) -> NDArray[np.float32]:
    """Logits of stills as the daemon scores them: a full window by repetition.

    Args:
        backend: The open bundle.
        crops: ``(N, 1, S, S, 3)`` uint8.
        window: W.
        batch: Crops per call.

    Returns:
        ``(N, C)`` float32.
    """
    parts = []
    for start in range(0, len(crops), batch):
        features = np.asarray(backend.encode(crops[start : start + batch]), np.float32).copy()
        index = np.repeat(np.arange(len(features), dtype=np.int32)[:, None], window, axis=1)
        parts.append(np.array(backend.head(features, index).logits))
    return np.concatenate(parts)


def accuracy(
    logits: NDArray[np.float32], truth: NDArray[np.int64], labels: Sequence[str], draws: int = 2000, seed: int = 0
) -> dict[str, Any]:
    """Recognition on stills, JSON-ready.

    Args:
        logits: ``(N, C)``.
        truth: ``(N,)`` classes, all of them at least 0.
        labels: C class names.
        draws: Resamples of the intervals.
        seed: Of the resampling.

    Returns:
        ``war`` and ``uar`` as (value, low, high) in percent, with 95 % intervals over resampled faces; ``n``;
        ``confusion``, true class by row.
    """
    predicted = logits.argmax(1)
    intervals = war_and_uar_intervals(truth, predicted, len(labels), None, draws, seed, unit=100)
    figures = {name: _triple(interval) for name, interval in zip(("war", "uar"), intervals, strict=True)}
    return {**figures, "n": len(truth), "confusion": confusion_matrix(truth, predicted, len(labels)).tolist()}


def crop_ms(backend: Backend, size_px: int, repeats: int = 200) -> float:
    """Median time of encoding one crop, ms."""
    crop = np.random.default_rng(0).integers(0, 256, (1, 1, size_px, size_px, 3), dtype=np.uint8)
    times = []
    for _ in range(repeats):
        began = time.monotonic_ns()
        backend.encode(crop)
        times.append((time.monotonic_ns() - began) / 1e6)
    return float(np.median(times))


def noise_report(model: TgDfer, baseline: FrameMean, bank: FeatureBank, seeds: int = 5) -> dict[str, dict[str, Any]]:
    """The window head against the mean of per-frame logits on composed clips; true frames alone are the oracle.

    Args:
        model: The model with its trained head.
        baseline: Trained on the same clips for as many steps.
        bank: Features of faces that were not trained on.
        seeds: Clips per face.

    Returns:
        By share of noise: UAR in percent of ``head``, ``mean`` (the baseline) and ``oracle`` (the baseline over true
        frames only), ``gain`` of the head over the baseline in UAR points with its face-paired 95 % interval, and the
        per-clip AUROC of the relevance of the predicted class of both.
    """
    faces = np.flatnonzero(bank.label >= 0)
    truth = bank.label[faces]
    report: dict[str, dict[str, Any]] = {}
    for share in (0.0, 0.25, 0.5, 0.75):
        answers: dict[str, list[NDArray[np.float32]]] = {"head": [], "mean": [], "oracle": []}
        areas: dict[str, list[float]] = {"auroc": [], "auroc_mean": []}
        for seed in range(seeds):
            clips = compose(bank, faces, np.full(len(faces), int(16 * share)), np.random.default_rng(seed))
            logits, relevance, _ = score(model, clips.features)
            with torch.inference_mode():
                frames = baseline.frame_logits(torch.from_numpy(clips.features)).numpy()
            mean = frames.mean(1)
            answers["head"].append(logits)
            answers["mean"].append(mean)
            answers["oracle"].append((frames * clips.truth[..., None]).sum(1) / clips.truth.sum(1)[:, None])
            if share:
                # Neutral noise in a neutral clip carries the clip's label too.
                counted = (truth != SEVEN_CLASSES.index("neutral")) | (clips.kind != NOISE_KINDS.index("neutral"))
                own = np.take_along_axis(frames, mean.argmax(1)[:, None, None], 2)[..., 0]
                areas["auroc"].append(float(np.nanmean(clip_auroc(relevance, clips.truth)[counted])))
                areas["auroc_mean"].append(float(np.nanmean(clip_auroc(own, clips.truth)[counted])))
        row: dict[str, Any] = {k: float(np.mean([100 * uar(v, truth) for v in a])) for k, a in answers.items()}
        right = {k: np.stack([v.argmax(1) == truth for v in a]) for k, a in answers.items()}
        row["gain"] = _triple(paired_uar_gain(right["head"], right["mean"], truth))
        row |= {name: float(np.mean(values)) for name, values in areas.items() if values}
        report[f"{share:.2f}"] = row
    return report


def _triple(interval: Interval) -> tuple[float, float, float]:
    """As the model card's figures are stored."""
    return interval.value, interval.low, interval.high
