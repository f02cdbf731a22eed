"""What is gained by keeping only confident answers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from calibration.apply import Floats


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
