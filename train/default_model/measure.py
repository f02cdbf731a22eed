"""How good a bundle is: accuracy on stills through the exported graphs, intervals, and the window head's own worth."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from engine.backends import Backend
from engine.spec import SEVEN_CLASSES, CropGeometry
from stream.window.crop import crop_face
from train.data.augment.compose import NOISE_KINDS, FeatureBank, compose
from train.data.layouts.ferplus import Stills
from train.default_model.fit import accuracy
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


def bootstrap(
    logits: NDArray[np.float32], truth: NDArray[np.int64], draws: int = 2000, seed: int = 0
) -> dict[str, tuple[float, float, float]]:
    """WAR and UAR in percent with 95 % percentile intervals over resampled faces.

    Args:
        logits: ``(N, C)``.
        truth: ``(N,)`` classes, all of them at least 0.
        draws: Resamples.
        seed: Of the resampling.

    Returns:
        (value, low, high) of ``war`` and ``uar``.
    """
    right, classes = logits.argmax(1) == truth, np.unique(truth)
    rng = np.random.default_rng(seed)
    values = []
    for _ in range(draws):
        rows = rng.integers(len(truth), size=len(truth))
        recalls = [right[rows][truth[rows] == c].mean() for c in classes if (truth[rows] == c).any()]
        values.append((right[rows].mean() * 100, np.mean(recalls) * 100))
    low, high = np.percentile(values, [2.5, 97.5], axis=0)
    war, uar = accuracy(logits, truth)
    return {"war": (war, float(low[0]), float(high[0])), "uar": (uar, float(low[1]), float(high[1]))}


def confusion(logits: NDArray[np.float32], truth: NDArray[np.int64]) -> NDArray[np.int64]:
    """``(C, C)`` counts, true class by row, answer by column."""
    table = np.zeros((logits.shape[1], logits.shape[1]), np.int64)
    np.add.at(table, (truth, logits.argmax(1)), 1)
    return table


def crop_ms(backend: Backend, size_px: int, repeats: int = 200) -> float:
    """Median time of encoding one crop, ms."""
    crop = np.random.default_rng(0).integers(0, 256, (1, 1, size_px, size_px, 3), dtype=np.uint8)
    times = []
    for _ in range(repeats):
        began = time.monotonic_ns()
        backend.encode(crop)
        times.append((time.monotonic_ns() - began) / 1e6)
    return float(np.median(times))


def ranking(scores: NDArray[np.float32], truth: NDArray[np.bool_]) -> NDArray[np.float64]:
    """AUROC of each clip's frames; NaN where all frames are alike.

    Args:
        scores: ``(B, W)`` relevance.
        truth: ``(B, W)`` true frames.

    Returns:
        ``(B,)``.
    """
    result = np.full(len(scores), np.nan)
    for row, (value, true) in enumerate(zip(scores, truth, strict=True)):
        if true.any() and not true.all():
            difference = value[true][:, None] - value[~true][None]
            result[row] = float((difference > 0).mean() + 0.5 * (difference == 0).mean())
    return result


def paired_gain(
    right: NDArray[np.bool_], other: NDArray[np.bool_], truth: NDArray[np.int64], draws: int = 1000
) -> tuple[float, float, float]:
    """Gain in UAR points with its 95 % interval over resampled faces, the same faces on both sides.

    Args:
        right: ``(seeds, N)`` whether the first was right on each clip of each face.
        other: Likewise the second.
        truth: ``(N,)`` classes of the faces.
        draws: Resamples.

    Returns:
        (value, low, high).
    """
    difference = right.mean(0) - other.mean(0)
    member = truth[None] == np.unique(truth)[:, None]
    rng = np.random.default_rng(0)
    counts = rng.multinomial(len(truth), np.full(len(truth), 1 / len(truth)), size=draws)
    drawn = counts @ member.T
    gains = 100 * np.nanmean(np.where(drawn > 0, (counts * difference) @ member.T / np.maximum(drawn, 1), np.nan), 1)
    low, high = np.percentile(gains, [2.5, 97.5])
    value = 100 * np.mean([difference[m].mean() for m in member])
    return float(value), float(low), float(high)


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
                areas["auroc"].append(float(np.nanmean(ranking(relevance, clips.truth)[counted])))
                areas["auroc_mean"].append(float(np.nanmean(ranking(own, clips.truth)[counted])))
        row: dict[str, Any] = {k: float(np.mean([accuracy(v, truth)[1] for v in a])) for k, a in answers.items()}
        right = {k: np.stack([v.argmax(1) == truth for v in a]) for k, a in answers.items()}
        row["gain"] = paired_gain(right["head"], right["mean"], truth)
        row |= {name: float(np.mean(values)) for name, values in areas.items() if values}
        report[f"{share:.2f}"] = row
    return report
