"""How honest probabilities are: calibration errors, Brier score, likelihood."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from calibration.apply import Floats
from calibration.metrics.recognition import Labels
from calibration.metrics.selective import Steps
from calibration.settings import CalibrationError

BINS = 15
"""Bins of a calibration error, as in Guo et al. 2017."""


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
    Answers of one confidence are never parted, or the order of rows would decide which of them are right where: all
    of them lie in the bin of the (upper) middle one, so that where many are tied there are fewer bins, of unequal size.
    """
    steps = Steps.of(confidence, correct)
    middle = np.cumsum(steps.count) - (steps.count + 1) // 2
    parts = np.array_split(np.arange(len(confidence)), bins)
    bin_of = np.searchsorted(np.cumsum([len(part) for part in parts]), middle, side="right")
    made = []
    for each in np.unique(bin_of):
        here = bin_of == each
        count = int(steps.count[here].sum())
        total = float((steps.confidence[here] * steps.count[here]).sum())
        made.append(Bin(total / count, float(steps.right[here].sum() / count), count))
    return made


def ece(probs: Floats, labels: Labels, bins: int = BINS) -> float:
    """Top-label expected calibration error over equal-mass bins (Guo et al. 2017, eq. 3), 0 to 1."""
    confidence, correct = top_label(probs, labels)
    return _gap(reliability(confidence, correct, bins), len(labels))


def classwise_ece(probs: Floats, labels: Labels, bins: int = BINS) -> float:
    """Mean over classes of the calibration error of that class's probability (Kull et al. 2019), 0 to 1."""
    gaps = [_gap(reliability(probs[:, c], labels == c, bins), len(labels)) for c in range(probs.shape[1])]
    return float(np.mean(gaps))


def overconfidence(probs: Floats, labels: Labels) -> npt.NDArray[np.float64]:
    """(C,) by how much the answers of each class are surer than right: mean confidence less share right, -1 to 1.

    NaN for a class that is never the answer.
    """
    check(probs, labels)
    confidence, correct = top_label(probs, labels)
    answers, gap = np.asarray(probs).argmax(1), np.asarray(confidence, np.float64) - correct
    classes = range(np.shape(probs)[1])
    return np.array([gap[answers == c].mean() if (answers == c).any() else np.nan for c in classes])


def brier(probs: Floats, labels: Labels) -> float:
    """Mean squared distance to the true class's corner, 0 to 2 (Brier 1950)."""
    truth = np.eye(probs.shape[1])[labels]
    return float(((probs - truth) ** 2).sum(axis=1).mean())


def nll(probs: Floats, labels: Labels) -> float:
    """Mean negative log-likelihood, nats."""
    chosen = probs[np.arange(len(labels)), labels]
    return float(-np.log(np.maximum(chosen, 1e-300)).mean())


def nll_of_logits(logits: Floats, labels: Labels) -> float:
    """The same of ``softmax(logits)``, without the rounding of probabilities near 0 or 1: what a fit minimises."""
    top = logits.max(axis=1)
    logsum = top + np.log(np.exp(logits - top[:, None]).sum(axis=1))
    return float((logsum - logits[np.arange(len(labels)), labels]).mean())


class TopLabel(NamedTuple):
    """The answers: the class of the largest probability.

    Attributes:
        confidence: (n,) its probability.
        correct: (n,) whether it is the true class.
    """

    confidence: npt.NDArray[np.float64]
    correct: npt.NDArray[np.bool_]


def top_label(probs: Floats, labels: Labels) -> TopLabel:
    """Confidence of each answer and whether it is right.

    Raises:
        CalibrationError: As :func:`check`.
    """
    check(probs, labels)
    return TopLabel(np.asarray(probs.max(axis=1), dtype=np.float64), np.asarray(probs.argmax(axis=1) == labels))


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
