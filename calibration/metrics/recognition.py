"""How often the right class is named: confusion matrix, recalls, WAR and UAR."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from calibration.apply import Floats
from calibration.settings import CalibrationError

Labels = npt.NDArray[np.integer]


@dataclass(frozen=True)
class Scores:
    """What a confusion matrix says.

    Attributes:
        labels: C class names.
        confusion: ``(C, C)`` int64, rows true, columns predicted.
        war: Weighted average recall, that is accuracy, in [0, 1]; NaN without clips.
        uar: Unweighted average recall over the classes that occur, in [0, 1]; NaN without clips.
        recall: Per class, NaN where the class does not occur.
        precision: Per class, NaN where the class is never predicted.
        absent: Classes that do not occur in the truth: they are left out of UAR.
    """

    labels: tuple[str, ...]
    confusion: npt.NDArray[np.int64]
    war: float
    uar: float
    recall: tuple[float, ...]
    precision: tuple[float, ...]
    absent: tuple[str, ...]

    def text(self) -> str:
        """One line for a terminal, absent classes said."""
        line = f"WAR {100 * self.war:.2f}  UAR {100 * self.uar:.2f}  (n = {int(self.confusion.sum())})"
        return line + (f"; UAR leaves out absent {', '.join(self.absent)}" if self.absent else "")


def confusion_matrix(truth: Labels, predicted: Labels, classes: int) -> npt.NDArray[np.int64]:
    """``(C, C)`` counts, rows true, columns predicted.

    Raises:
        CalibrationError: If lengths differ or a class number is out of range.
    """
    truth, predicted = np.asarray(truth, np.int64), np.asarray(predicted, np.int64)
    if truth.shape != predicted.shape or truth.ndim != 1:
        raise CalibrationError(f"truth {truth.shape} and prediction {predicted.shape} must be vectors of one length")
    both = np.concatenate([truth, predicted])
    if both.size and (both.min() < 0 or both.max() >= classes):
        raise CalibrationError(f"class numbers must be 0..{classes - 1}, not {both.min()}..{both.max()}")
    return np.bincount(truth * classes + predicted, minlength=classes * classes).reshape(classes, classes)


def score_confusion(confusion: npt.NDArray[np.int64], labels: Sequence[str]) -> Scores:
    """WAR, UAR, and recall and precision of each class, of a confusion matrix."""
    support, total, hits = confusion.sum(axis=1), int(confusion.sum()), np.diag(confusion)
    recall, precision = _shares(hits, support), _shares(hits, confusion.sum(axis=0))
    present = support > 0
    return Scores(
        labels=tuple(labels),
        confusion=confusion,
        war=float(hits.sum() / total) if total else float("nan"),
        uar=float(recall[present].mean()) if total else float("nan"),
        recall=tuple(recall.tolist()),
        precision=tuple(precision.tolist()),
        absent=tuple(name for name, here in zip(labels, present, strict=True) if not here),
    )


def score(truth: Labels, predicted: Labels, labels: Sequence[str]) -> Scores:
    """Scores of predictions ``(n,)`` against class numbers ``(n,)``."""
    return score_confusion(confusion_matrix(truth, predicted, len(labels)), labels)


def war(probs: Floats, labels: Labels) -> float:
    """Weighted average recall: accuracy of the largest, 0 to 1."""
    return float((probs.argmax(axis=1) == labels).mean())


def uar(probs: Floats, labels: Labels) -> float:
    """Unweighted average recall of the largest: mean over the classes that occur, 0 to 1."""
    return score(labels, probs.argmax(axis=1), [""] * probs.shape[1]).uar


class MeanSd(NamedTuple):
    """A figure over folds: mean and sample standard deviation (n - 1), NaN of one fold."""

    mean: float
    sd: float


def mean_and_sd(values: Sequence[float]) -> MeanSd:
    """Mean and spread of a figure over folds."""
    array = np.asarray(values, np.float64)
    return MeanSd(float(array.mean()), float(array.std(ddof=1)) if array.size > 1 else float("nan"))


def _shares(hits: npt.NDArray[np.int64], of: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    return np.asarray(np.divide(hits, of, out=np.full(len(of), np.nan), where=of > 0))
