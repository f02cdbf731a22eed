"""Recognition and localisation metrics, in numpy alone; they agree with scikit-learn's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Scores:
    """What a confusion matrix says.

    Attributes:
        labels: C class names.
        confusion: ``(C, C)`` int64, rows true, columns predicted.
        war: Weighted average recall, that is accuracy, in [0, 1]; NaN without clips.
        uar: Unweighted average recall over the classes that occur, in [0, 1]; NaN without clips.
        recall: Per class, NaN where the class does not occur.
        absent: Classes that do not occur in the truth: they are left out of UAR.
    """

    labels: tuple[str, ...]
    confusion: NDArray[np.int64]
    war: float
    uar: float
    recall: tuple[float, ...]
    absent: tuple[str, ...]

    def text(self) -> str:
        """One line for a terminal, absent classes said."""
        line = f"WAR {100 * self.war:.2f}  UAR {100 * self.uar:.2f}  (n = {int(self.confusion.sum())})"
        return line + (f"; UAR leaves out absent {', '.join(self.absent)}" if self.absent else "")


def confusion_matrix(truth: Labels, predicted: Labels, classes: int) -> NDArray[np.int64]:
    """``(C, C)`` counts, rows true, columns predicted.

    Raises:
        ValueError: If lengths differ or a class number is out of range.
    """
    truth, predicted = np.asarray(truth, np.int64), np.asarray(predicted, np.int64)
    if truth.shape != predicted.shape or truth.ndim != 1:
        raise ValueError(f"truth {truth.shape} and prediction {predicted.shape} must be vectors of one length")
    both = np.concatenate([truth, predicted])
    if both.size and (both.min() < 0 or both.max() >= classes):
        raise ValueError(f"class numbers must be 0..{classes - 1}")
    return np.bincount(truth * classes + predicted, minlength=classes * classes).reshape(classes, classes)


def scores(confusion: NDArray[np.int64], labels: Sequence[str]) -> Scores:
    """WAR, UAR and per-class recall of a confusion matrix."""
    support = confusion.sum(axis=1)
    total = int(support.sum())
    hits = np.diag(confusion)
    recall = np.divide(hits, support, out=np.full(len(support), np.nan), where=support > 0)
    present = support > 0
    return Scores(
        labels=tuple(labels),
        confusion=confusion,
        war=float(hits.sum() / total) if total else float("nan"),
        uar=float(recall[present].mean()) if total else float("nan"),
        recall=tuple(float(r) for r in recall),
        absent=tuple(name for name, here in zip(labels, present, strict=True) if not here),
    )


def score(truth: Labels, predicted: Labels, labels: Sequence[str]) -> Scores:
    """Metrics of predictions ``(n,)`` against class numbers ``(n,)``."""
    return scores(confusion_matrix(truth, predicted, len(labels)), labels)


@dataclass(frozen=True)
class Interval:
    """A figure with its bootstrap interval, all in the figure's unit.

    Attributes:
        value: On the whole sample.
        low: Lower bound.
        high: Upper bound.
        level: Coverage, for example 0.95.
    """

    value: float
    low: float
    high: float
    level: float = 0.95


def bootstrap(
    statistic: Callable[[NDArray[np.int64]], float],
    clips: int,
    groups: Sequence[str] | None = None,
    draws: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Percentile bootstrap over clips, or over whole groups where they are known (a face's clips depend on each other).

    Args:
        statistic: A figure of some clips, given their indices.
        clips: n.
        groups: ``n`` group names, or None; an empty name is a group of its own.
        draws: Resamples.
        level: Coverage.
        seed: Of the resampling.

    Returns:
        The figure and its interval; resamples in which it is undefined are left out.
    """
    rng = np.random.default_rng(seed)
    keys = [g or f"\0{i}" for i, g in enumerate(groups)] if groups is not None else [str(i) for i in range(clips)]
    _, inverse = np.unique(np.array(keys), return_inverse=True)
    members = np.split(np.argsort(inverse, kind="stable"), np.cumsum(np.bincount(inverse))[:-1])
    values = []
    for _ in range(draws):
        picked = rng.integers(0, len(members), len(members))
        values.append(statistic(np.concatenate([members[i] for i in picked])))
    finite = np.array([v for v in values if np.isfinite(v)])
    tail = (1 - level) / 2
    low, high = np.quantile(finite, [tail, 1 - tail]) if finite.size else (np.nan, np.nan)
    return Interval(statistic(np.arange(clips)), float(low), float(high), level)


def war_and_uar_intervals(
    truth: Labels,
    predicted: Labels,
    classes: int,
    groups: Sequence[str] | None = None,
    draws: int = 1000,
    seed: int = 0,
) -> tuple[Interval, Interval]:
    """Bootstrap intervals of WAR and UAR; arguments as of :func:`bootstrap`."""
    names = [str(c) for c in range(classes)]

    def war(index: NDArray[np.int64]) -> float:
        return float((truth[index] == predicted[index]).mean()) if len(index) else float("nan")

    def uar(index: NDArray[np.int64]) -> float:
        return score(truth[index], predicted[index], names).uar

    return (
        bootstrap(war, len(truth), groups, draws, seed=seed),
        bootstrap(uar, len(truth), groups, draws, seed=seed),
    )


def auroc(values: NDArray[np.floating], positive: NDArray[np.bool_]) -> float:
    """Area under the ROC curve: the chance that a positive's value exceeds a negative's, ties counted half.

    Args:
        values: ``(n,)``, higher means more positive.
        positive: ``(n,)`` bool.

    Returns:
        A number in [0, 1]; NaN where one side is empty.
    """
    positive = np.asarray(positive, bool)
    ones, zeros = int(positive.sum()), int((~positive).sum())
    if not ones or not zeros:
        return float("nan")
    _, inverse, counts = np.unique(np.asarray(values, np.float64), return_inverse=True, return_counts=True)
    # Mean rank of each group of ties, ranks from 1.
    last = np.cumsum(counts)
    ranks = (last - (counts - 1) / 2)[inverse]
    return float((ranks[positive].sum() - ones * (ones + 1) / 2) / (ones * zeros))


def clip_auroc(relevance: NDArray[np.floating], truth: NDArray[np.floating]) -> NDArray[np.float64]:
    """AUROC of relevance against frame truth, clip by clip.

    Args:
        relevance: ``(n, T)``.
        truth: ``(n, T)``: 1 shows the expression, 0 does not, below 0 unknown.

    Returns:
        ``(n,)``; NaN where a clip's truth is unknown or one-sided.
    """
    rows = []
    for values, marks in zip(relevance, truth, strict=True):
        known = marks >= 0
        rows.append(auroc(values[known], marks[known] > 0.5))
    return np.array(rows, np.float64)


def mean_and_sd(values: Sequence[float]) -> tuple[float, float]:
    """Mean and sample standard deviation (n - 1) over folds; the deviation of one fold is NaN."""
    array = np.asarray(values, np.float64)
    return float(array.mean()), float(array.std(ddof=1)) if array.size > 1 else float("nan")


def softmax(logits: NDArray[np.floating]) -> NDArray[np.float64]:
    """Softmax over the last axis in float64."""
    shifted = np.asarray(logits, np.float64) - np.max(logits, axis=-1, keepdims=True)
    exponents = np.exp(shifted)
    return np.asarray(exponents / exponents.sum(axis=-1, keepdims=True), np.float64)
