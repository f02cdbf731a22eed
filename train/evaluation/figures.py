"""Pictures of an evaluation, as PNG bytes: confusion matrix, frame-influence strip, t-SNE, recall bars."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.metrics import Scores
from train.evaluation.evaluate import Evaluation, sample_relevance

_INK = "#1b2a38"
_TRUE = "#1a7f5a"
_OTHER = "#b9c4cc"


def _new(width: float, height: float, **grid: Any) -> tuple[Any, Any]:
    # The object interface: pyplot keeps global state and wants a display.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(**grid) if grid else figure.add_subplot()


def _png(figure: Any) -> bytes:
    stream = io.BytesIO()
    # No version or date in the file: the same evaluation gives the same bytes.
    figure.savefig(stream, format="png", metadata={"Software": None})
    return stream.getvalue()


def confusion_figure(result: Scores) -> bytes:
    """The confusion matrix in per cent of each true class, counts below."""
    counts = result.confusion
    shares = np.divide(
        counts,
        counts.sum(axis=1, keepdims=True),
        out=np.zeros(counts.shape),
        where=counts.sum(axis=1, keepdims=True) > 0,
    )
    side = 1.6 + 0.72 * len(result.labels)
    figure, axis = _new(side + 0.6, side)
    image = axis.imshow(shares, vmin=0, vmax=1, cmap="Blues")
    for (row, column), share in np.ndenumerate(shares):
        text = f"{100 * share:.1f}\n{counts[row, column]}" if counts[row].sum() else "–"
        axis.text(column, row, text, ha="center", va="center", fontsize=8, color="white" if share > 0.55 else _INK)
    ticks = np.arange(len(result.labels))
    axis.set_xticks(ticks, result.labels, rotation=35, ha="right")
    axis.set_yticks(ticks, result.labels)
    axis.set_xlabel("predicted")
    axis.set_ylabel("true")
    axis.set_title(f"UAR {100 * result.uar:.2f}   WAR {100 * result.war:.2f}   n = {counts.sum()}", fontsize=10)
    figure.colorbar(image, ax=axis, shrink=0.8, label="share of the true class")
    return _png(figure)


def influence_strip(
    frames: Sequence[NDArray[np.uint8]],
    relevance: NDArray[np.floating],
    truth: NDArray[np.floating] | None,
    title: str,
) -> bytes:
    """A clip's frames with the influence of each below them (TG-DFER, Fig. 4).

    Args:
        frames: T images ``(S, S, 3)`` uint8 RGB.
        relevance: ``(T,)``, scaled to its own range for display.
        truth: ``(T,)`` frame truth where known: true frames are framed in green.
        title: Above the strip.
    """
    count = len(frames)
    span = float(np.ptp(relevance))
    scaled = (relevance - relevance.min()) / span if span > 0 else np.ones(count)
    figure, axes = _new(0.72 * count + 0.4, 1.75, nrows=2, ncols=count, height_ratios=[3, 1.4], squeeze=False)
    for k, frame in enumerate(frames):
        top, bottom = axes[:, k]
        top.imshow(frame)
        shows = truth is not None and truth[k] > 0.5
        top.set_xticks([])
        top.set_yticks([])
        for side in top.spines.values():
            side.set_color(_TRUE if shows else _OTHER)
            side.set_linewidth(2.5 if shows else 0.8)
        bottom.bar([0], [scaled[k]], color=_TRUE if shows else "#4a7fb5")
        bottom.set_ylim(0, 1.05)
        bottom.set_axis_off()
    figure.suptitle(title, fontsize=9, color=_INK)
    return _png(figure)


def tsne_figure(
    features: NDArray[np.floating], target: NDArray[np.int64], labels: Sequence[str], seed: int = 0
) -> bytes:
    """t-SNE of clip features, one colour per class; at most 3,000 clips are drawn, and the title says so.

    Args:
        features: ``(n, F)``, n of 5 or more.
        target: ``(n,)`` class numbers.
        labels: Class names.
        seed: Of the projection.
    """
    from sklearn.manifold import TSNE

    everything = len(features)
    if everything > 3000:
        kept = np.sort(np.random.default_rng(seed).choice(everything, 3000, replace=False))
        features, target = features[kept], target[kept]
    perplexity = float(min(30, max(2, (len(features) - 1) // 3)))
    points = TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(np.asarray(features, np.float32))
    figure, axis = _new(7.2, 5.4)
    for number, label in enumerate(labels):
        own = points[target == number]
        axis.scatter(own[:, 0], own[:, 1], s=10, label=f"{label} ({len(own)})", alpha=0.75, linewidths=0)
    axis.set_xticks([])
    axis.set_yticks([])
    axis.legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    axis.set_title(f"t-SNE of clip features, {len(features)} of {everything} clips", fontsize=10)
    return _png(figure)


def influence_figure(result: Evaluation) -> bytes:
    """Recognition from the k samples of highest and lowest influence (TG-DFER, Table 6)."""
    figure, axis = _new(5.6, 3.2)
    for side, colour in (("highest", _TRUE), ("lowest", "#b5583f")):
        rows = [(k, s) for (which, k), s in result.influence.items() if which == side]
        axis.plot([k for k, _ in rows], [100 * s.uar for _, s in rows], "o-", color=colour, label=f"{side}: UAR")
        axis.plot(
            [k for k, _ in rows], [100 * s.war for _, s in rows], "s--", color=colour, label=f"{side}: WAR", alpha=0.6
        )
    axis.axhline(100 * result.scores.uar, color=_INK, linewidth=0.8, label="all samples: UAR")
    axis.set_xticks(sorted({k for _, k in result.influence}))
    axis.set_xlabel("samples used")
    axis.set_ylabel("per cent")
    axis.legend(fontsize=7, frameon=False)
    return _png(figure)


def strip_clips(result: Evaluation, count: int) -> list[int]:
    """Which clips to show as strips: per class the surest right one and the surest wrong one, classes in turn."""
    found = result.predictions
    sure = np.sort(found.logits, axis=1)
    margin = sure[:, -1] - sure[:, -2]
    right = found.predicted == found.target
    chosen: list[int] = []
    for wanted in (True, False):
        for number in range(len(found.labels)):
            own = np.flatnonzero((found.target == number) & (right == wanted))
            if len(own):
                chosen.append(int(own[np.argmax(margin[own])]))
    return chosen[:count]


def strip_of(result: Evaluation, index: int, frames: Sequence[NDArray[np.uint8]]) -> bytes:
    """The strip of one clip of an evaluation; `frames` are its T samples."""
    found = result.predictions
    truth = found.truth[index] if found.truth[index].min() >= 0 else None
    said, meant = found.labels[found.predicted[index]], found.labels[found.target[index]]
    title = f"{found.names[index]}: {meant}, recognised as {said}"
    return influence_strip(frames, sample_relevance(found)[index], truth, title)
