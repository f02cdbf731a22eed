"""Bootstrap intervals of figures, over rows or over whole groups of rows that depend on each other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from calibration.metrics.recognition import Labels, score

Rows = npt.NDArray[np.int64]
Groups = Sequence[str] | npt.NDArray[np.integer]


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
    statistic: Callable[[Rows], Sequence[float]],
    count: int,
    groups: Groups | None = None,
    draws: int = 1000,
    level: float = 0.95,
    seed: int = 0,
    centred: bool = False,
) -> tuple[Interval, ...]:
    """Percentile bootstrap over rows, or over whole groups where they are known (twins, one person's clips).

    Args:
        statistic: Figures of some rows, given their indices.
        count: n, rows there are.
        groups: n groups by number or by name, an empty name being a group of its own; None for every row its own.
        draws: Resamples.
        level: Coverage.
        seed: Of the resampling.
        centred: Lay the percentiles around the figure by their distance from the resamples' median, at least 0: for
            figures that resampling biases. A calibration error of resampled rows is larger, because noise adds to it.

    Returns:
        Each figure with its interval; resamples in which it is undefined are left out.
    """
    drawn = np.array([statistic(rows) for rows in _resamples(count, groups, draws, seed)], dtype=np.float64)
    tail = 50 - 50 * level
    intervals = []
    for value, column in zip(statistic(np.arange(count)), drawn.T, strict=True):
        finite = column[np.isfinite(column)]
        low, middle, high = np.percentile(finite, [tail, 50, 100 - tail]) if finite.size else [np.nan] * 3
        if centred:
            low, high = max(0.0, value + low - middle), value + high - middle
        intervals.append(Interval(float(value), float(low), float(high), level))
    return tuple(intervals)


def war_and_uar_intervals(
    truth: Labels,
    predicted: Labels,
    classes: int,
    groups: Groups | None = None,
    draws: int = 1000,
    seed: int = 0,
    unit: float = 1.0,
) -> tuple[Interval, Interval]:
    """Bootstrap intervals of WAR and UAR.

    Args:
        truth: ``(n,)`` class numbers.
        predicted: Likewise.
        classes: C.
        groups: As of :func:`bootstrap`.
        draws: Resamples.
        seed: Of the resampling.
        unit: 100 for per cent.
    """
    names = [""] * classes

    def both(rows: Rows) -> tuple[float, float]:
        found = score(truth[rows], predicted[rows], names)
        return unit * found.war, unit * found.uar

    war, uar = bootstrap(both, len(truth), groups, draws, seed=seed)
    return war, uar


def paired_uar_gain(
    right: npt.NDArray[np.bool_], other: npt.NDArray[np.bool_], truth: Labels, draws: int = 1000
) -> Interval:
    """Gain in UAR points of one model over another, resampled over faces, the same faces on both sides.

    Args:
        right: ``(seeds, N)`` whether the first was right on each clip of each face.
        other: Likewise the second.
        truth: ``(N,)`` classes of the faces.
        draws: Resamples.
    """
    difference = right.mean(0) - other.mean(0)
    member = truth[None] == np.unique(truth)[:, None]
    # How often each face is drawn: the same as drawing faces, but one product for all resamples.
    counts = np.random.default_rng(0).multinomial(len(truth), np.full(len(truth), 1 / len(truth)), size=draws)
    drawn = counts @ member.T
    gains = 100 * np.nanmean(np.where(drawn > 0, (counts * difference) @ member.T / np.maximum(drawn, 1), np.nan), 1)
    low, high = np.percentile(gains, [2.5, 97.5])
    return Interval(float(100 * np.mean([difference[m].mean() for m in member])), float(low), float(high))


def _resamples(count: int, groups: Groups | None, draws: int, seed: int) -> Iterator[Rows]:
    """Row indices of each resample: as many groups as there are, drawn with replacement, each with all its rows."""
    rng = np.random.default_rng(seed)
    keys = np.arange(count) if groups is None else np.asarray(groups)
    if keys.dtype.kind == "U":
        keys = np.array([name or f"\0{row}" for row, name in enumerate(keys.tolist())])
    _, group = np.unique(keys, return_inverse=True)
    by_group, sizes = np.argsort(group, kind="stable"), np.bincount(group)
    starts = np.cumsum(sizes) - sizes
    for _ in range(draws):
        picked = rng.integers(0, len(sizes), len(sizes))
        lengths = sizes[picked]
        before = np.cumsum(lengths) - lengths
        yield by_group[np.repeat(starts[picked] - before, lengths) + np.arange(lengths.sum())]
