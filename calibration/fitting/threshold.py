"""The confidence below which to abstain, chosen for a risk that a user states."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import beta

from calibration.apply import Floats
from calibration.metrics import risk_coverage
from calibration.settings import CalibrationError


@dataclass(frozen=True)
class Threshold:
    """An abstention threshold and what it gave on the data it was chosen on.

    Attributes:
        threshold: Confidence below which to abstain, 0 to 1.
        coverage: Share of answers kept.
        risk: Share of errors among them.
        bound: Upper bound of the risk at the stated certainty; the risk itself where none was stated.
    """

    threshold: float
    coverage: float
    risk: float
    bound: float


def for_risk(
    confidence: Floats, correct: npt.NDArray[np.bool_], risk: float, certainty: float | None = None
) -> Threshold:
    """The lowest threshold whose kept answers are wrong at most `risk` of the time.

    Args:
        confidence: (n,) of held-out answers, calibrated by a fit that did not see them.
        correct: (n,) whether each is right.
        risk: Stated share of errors among kept answers, above 0 and under 1.
        certainty: None takes the risk as counted. Else, for example 0.95, its Clopper–Pearson upper bound must hold
            (Geifman and El-Yaniv 2017, without their correction for the search).

    Raises:
        CalibrationError: If no threshold reaches the risk.
    """
    if not 0 < risk < 1 or not (certainty is None or 0 < certainty < 1):
        raise CalibrationError("risk and certainty must be above 0 and under 1")
    curve = risk_coverage(confidence, correct)
    kept = np.arange(1, len(confidence) + 1)
    errors = np.rint(curve.risk * kept)
    bound = curve.risk if certainty is None else upper_bound(errors, kept, certainty)
    # Answers of equal confidence are kept or left together.
    last = np.r_[curve.threshold[1:] != curve.threshold[:-1], True]
    good = np.flatnonzero((bound <= risk) & last)
    if not good.size:
        raise CalibrationError(
            f"no threshold keeps the risk at {risk:.3g}: the most confident answers are wrong too often or too few",
            "state a higher risk",
        )
    at = int(good[-1])
    threshold = 0.0 if at == len(kept) - 1 else float(curve.threshold[at])
    return Threshold(threshold, float(curve.coverage[at]), float(curve.risk[at]), float(bound[at]))


def upper_bound(
    errors: npt.NDArray[np.floating], kept: npt.NDArray[np.integer], certainty: float
) -> npt.NDArray[np.float64]:
    """Clopper–Pearson upper bound of an error rate, element by element: errors of kept, both (n,)."""
    values = beta.ppf(certainty, errors + 1, np.maximum(kept - errors, 1e-12))
    return np.where(errors >= kept, 1.0, values)
