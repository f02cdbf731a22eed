"""What is gained by keeping only confident answers. Those of one confidence count alike, in whatever order they are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from calibration.apply import Floats


@dataclass(frozen=True)
class Steps:
    """Answers by confidence: m different ones, rising.

    Attributes:
        confidence: (m,).
        count: (m,) int64 answers of that confidence.
        right: (m,) int64 of them right.
    """

    confidence: npt.NDArray[np.float64]
    count: npt.NDArray[np.int64]
    right: npt.NDArray[np.int64]

    @classmethod
    def of(cls, confidence: Floats, correct: npt.NDArray[np.bool_]) -> Steps:
        """Group answers, both (n,)."""
        values, step = np.unique(np.asarray(confidence, np.float64), return_inverse=True)
        return cls(values, np.bincount(step), np.bincount(step[correct], minlength=len(values)))


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
    """The risk–coverage curve (El-Yaniv and Wiener 2010), most confident answers first.

    Within a group of equal confidence the risk is the mean over all orders of its answers.
    """
    steps = Steps.of(confidence, correct)
    count, wrong = steps.count[::-1], (steps.count - steps.right)[::-1]
    kept = np.arange(1, len(confidence) + 1)
    before, above = np.repeat(np.cumsum(count) - count, count), np.repeat(np.cumsum(wrong) - wrong, count)
    errors = above + (kept - before) * np.repeat(wrong, count) / np.repeat(count, count)
    return RiskCoverage(kept / len(kept), errors / kept, np.repeat(steps.confidence[::-1], count))


def coverage_at(confidence: Floats, correct: npt.NDArray[np.bool_], precision: float = 0.95) -> float:
    """The largest share of answers, most confident first, of which so many are right; 0 where none is."""
    curve = risk_coverage(confidence, correct)
    # A group of equal confidence is kept whole or not at all.
    ends = np.append(curve.threshold[1:] != curve.threshold[:-1], True)
    kept = curve.coverage[ends & (curve.risk <= 1 - precision + 1e-12)]
    return float(kept.max(initial=0.0))


def errors_removed(confidence: Floats, correct: npt.NDArray[np.bool_], abstained: float = 0.1) -> float:
    """Share of the errors among the `abstained` share of least confident answers; 0 where there are no errors.

    Of a group of equal confidence that is left out in part, errors go in proportion.
    """
    steps = Steps.of(confidence, correct)
    wrong = steps.count - steps.right
    if not wrong.any():
        return 0.0
    left = round(abstained * len(confidence)) - (np.cumsum(steps.count) - steps.count)
    return float((wrong * np.clip(left / steps.count, 0, 1)).sum() / wrong.sum())
