"""Whether relevance finds the frames that show the expression: the area under the ROC curve."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from calibration.apply import Floats


def auroc(values: Floats, positive: npt.NDArray[np.bool_]) -> float:
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


def clip_auroc(relevance: Floats, truth: Floats | npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
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
