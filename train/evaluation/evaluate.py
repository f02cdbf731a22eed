"""Everything that is measured on a test part: recognition, intervals, influence, temporal audit, localisation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from calibration.metrics import (
    Interval,
    MeanSd,
    Scores,
    bootstrap,
    clip_auroc,
    mean_and_sd,
    score,
    score_confusion,
    war_and_uar_intervals,
)
from train.data.dataset import ClipDataset
from train.evaluation.predict import BatchChange, Predictions, Shuffle, predict, repeat_peak, reverse
from train.models.window import ExpressionModel

INFLUENCE_K = (1, 2, 3)
"""Numbers of frames in TG-DFER's Table 6."""


@dataclass(frozen=True)
class Localisation:
    """How well relevance finds the frames that show the expression.

    Attributes:
        auroc: Mean over clips of the AUROC of the predicted class's relevance, wrong predictions included, with its
            interval.
        correct_only: The same over correctly recognised clips.
        clips: Clips it is known for.
    """

    auroc: Interval
    correct_only: float
    clips: int


@dataclass(frozen=True)
class Evaluation:
    """All figures of one model on one test part.

    Attributes:
        predictions: What they are made from.
        scores: WAR, UAR, recall, confusion.
        war: WAR with its bootstrap interval.
        uar: UAR with its interval.
        influence: (``highest`` or ``lowest``, k) -> scores of the k frames alone; empty without instance logits.
        audit: ``shuffle``, ``reverse``, ``repeat-peak`` -> scores on clips so changed; empty if not asked for.
        localisation: Where frame truth is known, else None.
    """

    predictions: Predictions
    scores: Scores
    war: Interval
    uar: Interval
    influence: dict[tuple[str, int], Scores]
    audit: dict[str, Scores]
    localisation: Localisation | None

    def to_dict(self) -> dict[str, Any]:
        """All figures as JSON-ready values, in [0, 1]."""
        values: dict[str, Any] = {
            "clips": len(self.predictions.target),
            "war": _interval(self.war),
            "uar": _interval(self.uar),
            "recall": {n: _number(r) for n, r in zip(self.scores.labels, self.scores.recall, strict=True)},
            "absent": list(self.scores.absent),
            "confusion": self.scores.confusion.tolist(),
            "influence": {f"{side} {k}": {"war": s.war, "uar": s.uar} for (side, k), s in self.influence.items()},
            "temporal_audit": {name: {"war": s.war, "uar": s.uar} for name, s in self.audit.items()},
        }
        if self.localisation is not None:
            values["localisation"] = {
                "auroc": _interval(self.localisation.auroc),
                "auroc_correct_only": _number(self.localisation.correct_only),
                "clips": self.localisation.clips,
            }
        return values


def _number(value: float) -> float | None:
    return None if np.isnan(value) else value


def _interval(interval: Interval) -> dict[str, float | None]:
    return {"value": _number(interval.value), "low": _number(interval.low), "high": _number(interval.high)}


def evaluate(
    model: ExpressionModel,
    dataset: ClipDataset,
    device: torch.device,
    batch: int = 16,
    workers: int = 0,
    audit: bool = True,
    draws: int = 1000,
    advance: Callable[[int], None] | None = None,
) -> Evaluation:
    """Evaluate a model.

    Args:
        model: The model.
        dataset: The test clips, without augmentation.
        device: Where to compute.
        batch: Clips at once.
        workers: Loader processes.
        audit: Also run on shuffled, reversed and frozen clips: three more passes.
        draws: Bootstrap resamples.
        advance: Called with the number of clips of each batch of each pass.
    """
    found = predict(model, dataset, device, batch, workers, advance=advance)
    changes: dict[str, BatchChange] = (
        {"shuffle": Shuffle(), "reverse": reverse, "repeat-peak": repeat_peak} if audit else {}
    )
    audited = {
        name: predict(model, dataset, device, batch, workers, change, advance).scores()
        for name, change in changes.items()
    }
    return summarise(found, audited, draws)


def summarise(found: Predictions, audited: dict[str, Scores] | None = None, draws: int = 1000) -> Evaluation:
    """All figures of predictions.

    Args:
        found: The predictions.
        audited: Scores of the temporal audit.
        draws: Bootstrap resamples; over groups where groups are known.
    """
    war, uar = war_and_uar_intervals(found.target, found.predicted, len(found.labels), found.groups, draws)
    return Evaluation(
        found, found.scores(), war, uar, influence_scores(found), audited or {}, localisation(found, draws)
    )


def influence_scores(found: Predictions) -> dict[tuple[str, int], Scores]:
    """Recognition from the k samples of highest or lowest influence alone (TG-DFER, Table 6).

    Influence of a sample is its instance logit for the class predicted from all samples, never the true one; the bag is
    the mean of the chosen samples' instance logits.

    Returns:
        (side, k) -> scores; empty where the model has no instance logits or fewer samples.
    """
    samples = found.instance.shape[1]
    if samples < max(INFLUENCE_K):
        return {}
    index = found.predicted[:, None, None]
    influence = np.take_along_axis(found.instance, np.repeat(index, samples, 1), axis=2)[..., 0]
    order = np.argsort(-influence, axis=1, kind="stable")
    result = {}
    for side, ranked in (("highest", order), ("lowest", order[:, ::-1])):
        for k in INFLUENCE_K:
            bag = np.take_along_axis(found.instance, ranked[:, :k, None], axis=1).mean(axis=1)
            result[side, k] = score(found.target, bag.argmax(axis=1), found.labels)
    return result


def sample_relevance(found: Predictions) -> NDArray[np.float32]:
    """Relevance ``(n, T)`` as localisation ranks it: the predicted class's instance logit, or the head's relevance.

    Both rank samples alike (relevance is a softmax of the former); the logits have no ties from underflow.
    """
    if not found.instance.shape[1]:
        return found.relevance
    index = np.repeat(found.predicted[:, None, None], found.instance.shape[1], 1)
    return np.asarray(np.take_along_axis(found.instance, index, axis=2)[..., 0], np.float32)


def localisation(found: Predictions, draws: int = 1000) -> Localisation | None:
    """AUROC of relevance against frame truth; None where no clip's truth is known."""
    values = clip_auroc(sample_relevance(found), found.truth)
    known = np.flatnonzero(~np.isnan(values))
    if not len(known):
        return None
    groups = [found.groups[i] for i in known]
    interval = bootstrap(lambda rows: [float(values[known[rows]].mean())], len(known), groups, draws)[0]
    right = known[found.predicted[known] == found.target[known]]
    return Localisation(interval, float(values[right].mean()) if len(right) else float("nan"), len(known))


@dataclass(frozen=True)
class FoldSummary:
    """Figures over folds.

    Attributes:
        war: Mean and sample standard deviation.
        uar: Likewise.
        pooled: Scores of all folds' clips together.
        folds: Number of folds.
    """

    war: MeanSd
    uar: MeanSd
    pooled: Scores
    folds: int

    def text(self) -> str:
        """One line for a terminal."""
        return (
            f"{self.folds} folds: UAR {100 * self.uar.mean:.2f} ± {100 * self.uar.sd:.2f}  "
            f"WAR {100 * self.war.mean:.2f} ± {100 * self.war.sd:.2f} (mean ± sample sd)"
        )


def over_folds(folds: list[Scores]) -> FoldSummary:
    """Mean ± sd of WAR and UAR over folds, and the pooled confusion matrix.

    Raises:
        ValueError: If there is no fold or their classes differ.
    """
    if not folds or any(fold.labels != folds[0].labels for fold in folds):
        raise ValueError("folds must be one or more with the same classes")
    total = np.sum([fold.confusion for fold in folds], axis=0)
    return FoldSummary(
        mean_and_sd([fold.war for fold in folds]),
        mean_and_sd([fold.uar for fold in folds]),
        score_confusion(total, folds[0].labels),
        len(folds),
    )
