"""Judging a calibration method on held-out logits, cross-fitted, and making the calibration a bundle will carry."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from calibration import metrics
from calibration.apply import Calibration, Floats
from calibration.data import Heldout
from calibration.fitting import temperature, threshold
from calibration.metrics import Labels


@dataclasses.dataclass(frozen=True)
class Judged:
    """A method's cross-fitted probabilities and figures.

    Attributes:
        method: Its name.
        probs: (n, C), each row by a fit that did not see its fold.
        figures: By name: ``value`` and ``interval``, 95 % by bootstrap over groups.
    """

    method: str
    probs: npt.NDArray[np.float64]
    figures: dict[str, dict[str, Any]]


def judge(method: str, rows: Heldout, count: int, seed: int, rounds: int) -> Judged:
    """Cross-fit a method over `count` folds by group and measure the pooled folds, with `rounds` resamples."""
    if method == "none":
        probs = Calibration(tuple(str(c) for c in range(rows.logits.shape[1]))).probs(rows.logits)
    else:
        probs = temperature.cross_fit(method, rows.logits, rows.labels, rows.groups, count, seed)

    def measure(chosen: npt.NDArray[np.int64]) -> list[float]:
        return [figure(probs[chosen], rows.labels[chosen]) for figure in FIGURES.values()]

    found = metrics.bootstrap(measure, len(probs), rows.groups, rounds, seed=seed, centred=True)
    figures = {
        name: {"value": round(each.value, 5), "interval": [round(each.low, 5), round(each.high, 5)]}
        for name, each in zip(FIGURES, found, strict=True)
    }
    return Judged(method, probs, figures)


def make(
    rows: Heldout,
    labels: tuple[str, ...],
    judged: Judged,
    plain: Judged,
    risk: float,
    certainty: float | None = None,
    **kept: Any,
) -> Calibration:
    """Fit the method to all rows; figures and threshold stay the cross-fitted ones.

    Args:
        rows: Held-out answers.
        labels: C class names.
        judged: The method, cross-fitted.
        plain: Plain softmax, for comparison.
        risk: Stated share of errors among kept answers.
        certainty: Whether the risk must hold at a certainty, see :func:`calibration.fitting.threshold.for_risk`.
        **kept: Provenance to keep besides.

    Raises:
        CalibrationError: If no threshold reaches the risk.
    """
    chosen = threshold.for_risk(*metrics.top_label(judged.probs, rows.labels), risk, certainty)
    neutral = [c for c, name in enumerate(labels) if name == "neutral"]
    faces = rows.logits[rows.labels == neutral[0]] if neutral else rows.logits[:0]
    centred = faces - faces.mean(axis=1, keepdims=True) if len(faces) else faces
    return dataclasses.replace(
        temperature.fit(judged.method, rows.logits, rows.labels, labels),
        threshold=round(chosen.threshold, 6),
        risk=risk,
        neutral_logits=tuple(centred.mean(axis=0)) if len(faces) else None,
        metrics={
            "before": plain.figures,
            "after": judged.figures,
            "threshold": {key: round(value, 6) for key, value in dataclasses.asdict(chosen).items()},
        },
        provenance={
            "rows": len(rows.labels),
            "groups": len(np.unique(rows.groups)),
            "per_class": {name: int((rows.labels == c).sum()) for c, name in enumerate(labels)},
            "skipped": dict(rows.skipped),
            "sha256": rows.sha256,
            **kept,
        },
    )


def _aurc(probs: Floats, labels: Labels) -> float:
    return metrics.risk_coverage(*metrics.top_label(probs, labels)).area


def _removed(probs: Floats, labels: Labels) -> float:
    return metrics.errors_removed(*metrics.top_label(probs, labels), 0.1)


FIGURES: dict[str, Callable[[Floats, Labels], float]] = {
    "war": metrics.war,
    "uar": metrics.uar,
    "ece": metrics.ece,
    "classwise_ece": metrics.classwise_ece,
    "brier": metrics.brier,
    "nll": metrics.nll,
    "aurc": _aurc,
    "errors_removed_at_10pct": _removed,
}
