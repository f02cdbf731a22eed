"""The one home of every measure: recognition, calibration, abstention, localisation, and their intervals. NumPy alone.

Shapes, if not said otherwise: ``probs`` (n, C) float, each row sums to 1, or logits where only their order counts;
``labels`` and ``truth`` (n,) class numbers; ``confidence`` (n,) float and ``correct`` (n,) bool.
"""

from calibration.metrics.calibration_error import (
    BINS,
    brier,
    check,
    classwise_ece,
    ece,
    nll,
    nll_of_logits,
    overconfidence,
    reliability,
    top_label,
)
from calibration.metrics.intervals import Interval, bootstrap, paired_uar_gain, war_and_uar_intervals
from calibration.metrics.localisation import auroc, clip_auroc
from calibration.metrics.recognition import (
    Labels,
    MeanSd,
    Scores,
    confusion_matrix,
    mean_and_sd,
    score,
    score_confusion,
    uar,
    war,
)
from calibration.metrics.selective import coverage_at, errors_removed, risk_coverage
from calibration.metrics.votes import vote_share, vote_weighted_uar

__all__ = [
    "BINS", "Interval", "Labels", "MeanSd", "Scores", "auroc", "bootstrap", "brier", "check", "classwise_ece",
    "clip_auroc", "confusion_matrix", "coverage_at", "ece", "errors_removed", "mean_and_sd", "nll", "nll_of_logits",
    "overconfidence", "paired_uar_gain", "reliability", "risk_coverage", "score", "score_confusion", "top_label",
    "uar", "vote_share", "vote_weighted_uar", "war", "war_and_uar_intervals",
]  # fmt: skip
