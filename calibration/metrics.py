"""How good and how honest probabilities are. NumPy only; every figure can be had with its bootstrap interval.

Shapes: probs (n, C) float, each row sums to 1; labels (n,) int class indices.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from calibration.apply import CalibrationError, Floats

Labels = npt.NDArray[np.integer]
Measure = Callable[[Floats, Labels], float]
BINS = 15


@dataclass(frozen=True)
class Bin:
    """One bin of a reliability diagram.

    Attributes:
        confidence: Mean confidence in it.
        accuracy: Share of correct answers in it.
        count: Answers in it.
    """

    confidence: float
    accuracy: float
    count: int


def reliability(confidence: Floats, correct: npt.NDArray[np.bool_], bins: int = BINS) -> list[Bin]:
    """Bins of equal mass: sorted by confidence and cut into `bins` parts whose sizes differ by one at most.

    Equal mass, because equal widths leave most bins nearly empty and their error noise (Nguyen and O'Connor 2015).
    """
    order = np.argsort(confidence, kind="stable")
    parts = np.array_split(order, min(bins, len(order)))
    return [Bin(float(confidence[p].mean()), float(correct[p].mean()), len(p)) for p in parts if len(p)]


def ece(probs: Floats, labels: Labels, bins: int = BINS) -> float:
    """Top-label expected calibration error over equal-mass bins (Guo et al. 2017, eq. 3), 0 to 1."""
    confidence, correct = top_label(probs, labels)
    return _gap(reliability(confidence, correct, bins), len(labels))


def classwise_ece(probs: Floats, labels: Labels, bins: int = BINS) -> float:
    """Mean over classes of the calibration error of that class's probability (Kull et al. 2019), 0 to 1."""
    gaps = [_gap(reliability(probs[:, c], labels == c, bins), len(labels)) for c in range(probs.shape[1])]
    return float(np.mean(gaps))


def brier(probs: Floats, labels: Labels) -> float:
    """Mean squared distance to the true class's corner, 0 to 2 (Brier 1950)."""
    truth = np.eye(probs.shape[1])[labels]
    return float(((probs - truth) ** 2).sum(axis=1).mean())


def nll(probs: Floats, labels: Labels) -> float:
    """Mean negative log-likelihood, nats."""
    chosen = probs[np.arange(len(labels)), labels]
    return float(-np.log(np.maximum(chosen, 1e-300)).mean())


def war(probs: Floats, labels: Labels) -> float:
    """Weighted average recall: accuracy, 0 to 1."""
    return float((probs.argmax(axis=1) == labels).mean())


def uar(probs: Floats, labels: Labels) -> float:
    """Unweighted average recall: mean over the classes that occur, 0 to 1."""
    predicted = probs.argmax(axis=1)
    return float(np.mean([(predicted[labels == c] == c).mean() for c in np.unique(labels)]))


def top_label(probs: Floats, labels: Labels) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Confidence of the answer and whether it is right: two (n,) arrays."""
    check(probs, labels)
    return np.asarray(probs.max(axis=1), dtype=np.float64), np.asarray(probs.argmax(axis=1) == labels)


@dataclass(frozen=True)
class RiskCoverage:
    """What is gained by keeping only confident answers.

    Attributes:
        coverage: (n,) share of answers kept, rising to 1.
        risk: (n,) share of errors among those kept.
        threshold: (n,) confidence of the last one kept.
    """

    coverage: npt.NDArray[np.float64]
    risk: npt.NDArray[np.float64]
    threshold: npt.NDArray[np.float64]

    @property
    def area(self) -> float:
        """Area under the curve (AURC), 0 to 1: less is better."""
        return float(self.risk.mean())


def risk_coverage(confidence: Floats, correct: npt.NDArray[np.bool_]) -> RiskCoverage:
    """The risk–coverage curve (El-Yaniv and Wiener 2010), most confident answers first."""
    order = np.argsort(-confidence, kind="stable")
    kept = np.arange(1, len(order) + 1)
    errors = np.cumsum(~correct[order])
    return RiskCoverage(kept / len(order), errors / kept, np.asarray(confidence[order], dtype=np.float64))


def errors_removed(confidence: Floats, correct: npt.NDArray[np.bool_], abstained: float = 0.1) -> float:
    """Share of the errors among the `abstained` share of least confident answers; 0 where there are no errors."""
    count = int(round(abstained * len(confidence)))
    wrong = ~correct
    if not wrong.any():
        return 0.0
    least = np.argsort(confidence, kind="stable")[:count]
    return float(wrong[least].sum() / wrong.sum())


def bootstrap(
    measures: Mapping[str, Measure],
    probs: Floats,
    labels: Labels,
    groups: npt.NDArray[np.integer] | None = None,
    rounds: int = 500,
    seed: int = 0,
) -> dict[str, tuple[float, float]]:
    """95 % intervals of figures, resampling whole groups so that twins do not count twice.

    Resampling biases some figures (a calibration error of resampled rows is larger, because noise adds to it), so the
    percentiles are taken around the resamples' median and laid around the figure itself.

    Args:
        measures: By name, what takes probs and labels.
        probs: (n, C).
        labels: (n,).
        groups: (n,) group of each row; None for every row its own.
        rounds: Resamples.
        seed: Of the generator.

    Returns:
        Low and high end by name.
    """
    rng = np.random.default_rng(seed)
    _, group = np.unique(np.arange(len(labels)) if groups is None else groups, return_inverse=True)
    total = int(group.max()) + 1
    figures = np.empty((rounds, len(measures)))
    for each in range(rounds):
        times = np.bincount(rng.integers(0, total, total), minlength=total)
        rows = np.repeat(np.arange(len(labels)), times[group])
        figures[each] = [measure(probs[rows], labels[rows]) for measure in measures.values()]
    low, middle, high = np.percentile(figures, [2.5, 50, 97.5], axis=0)
    here = np.array([measure(probs, labels) for measure in measures.values()])
    return {
        name: (max(0.0, float(here[i] + low[i] - middle[i])), float(here[i] + high[i] - middle[i]))
        for i, name in enumerate(measures)
    }


def check(probs: Floats, labels: Labels) -> None:
    """Refuse what no figure can be computed from.

    Raises:
        CalibrationError: If shapes do not fit, nothing is given, or a number is not finite.
    """
    if probs.ndim != 2 or labels.shape != (len(probs),) or not len(probs):
        raise CalibrationError(f"need probs (n, C) and labels (n,), n > 0; not {probs.shape} and {labels.shape}")
    if not np.isfinite(probs).all():
        raise CalibrationError("a probability is not finite")
    if labels.min() < 0 or labels.max() >= probs.shape[1]:
        raise CalibrationError(f"labels must be 0..{probs.shape[1] - 1}")


def _gap(bins: list[Bin], total: int) -> float:
    return sum(each.count * abs(each.accuracy - each.confidence) for each in bins) / total
