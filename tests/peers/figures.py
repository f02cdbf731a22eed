"""From single runs to the table: medians, ratios to ours, and what the labels did."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from tests.peers.measure import Run


@dataclass(frozen=True)
class Segment:
    """A stretch of a clip with one expression.

    Attributes:
        label: Which.
        onset_s: When the face begins to change towards it.
        end_s: When it begins to leave it.
    """

    label: str
    onset_s: float
    end_s: float


@dataclass(frozen=True)
class Row:
    """One program on one clip, medians over the rounds.

    Attributes:
        name: Of the program.
        clip: Of the clip.
        rounds: How many runs.
        cpu_ms: Processor time a frame, ms.
        ratio: Median over the rounds of ours to it, of that round: below 1 ours costs less.
        fps: Frames a second.
        first_label_s: Start to first label, s; the best round, for a cold disk is nobody's fault.
        peak_mb: Peak memory of the tree, MB.
        install_mb: Of its environment; None where it shares ours.
        found: Expressions of the clip that it named in their time, of how many; None where it gives no classes.
        delay_s: Median time from onset to its name, s, over those it named.
        switches: Changes of label a second.
    """

    name: str
    clip: str
    rounds: int
    cpu_ms: float
    ratio: float | None
    fps: float
    first_label_s: float | None
    peak_mb: float
    install_mb: int | None
    found: tuple[int, int] | None = None
    delay_s: float | None = None
    switches: float | None = None


def row(
    name: str,
    clip: str,
    runs: Sequence[Run],
    ours: Sequence[Run],
    install_mb: int | None,
    segments: Sequence[Segment] | None,
    clip_fps: float,
) -> Row:
    """Medians of the runs.

    Args:
        name: Of the program.
        clip: Of the clip.
        runs: In the order of the rounds.
        ours: Ours in the same rounds.
        install_mb: Of its environment.
        segments: The clip's expressions, empty where they are not known; None where the labels mean nothing.
        clip_fps: The clip's own rate, to which labels are counted.
    """
    first = [run.first_label_s for run in runs if run.first_label_s is not None]
    labels = runs[0].labels
    # A short run has not seen the clip's later expressions.
    seen = [segment for segment in segments or [] if segment.end_s * clip_fps <= len(labels) + 1]
    delays = label_delays(labels, seen, clip_fps)
    known = [delay for delay in delays if delay is not None]
    return Row(
        name=name,
        clip=clip,
        rounds=len(runs),
        cpu_ms=round(statistics.median(run.cpu_ms for run in runs), 2),
        ratio=round(statistics.median(a.cpu_ms / b.cpu_ms for a, b in zip(ours, runs, strict=False)), 3),
        fps=round(statistics.median(run.fps for run in runs), 1),
        first_label_s=round(min(first), 2) if first else None,
        peak_mb=round(statistics.median(run.peak_mb for run in runs)),
        install_mb=install_mb,
        found=(len(known), len(delays)) if delays else None,
        delay_s=round(statistics.median(known), 2) if known else None,
        switches=None if segments is None else round(switches_per_s(labels, clip_fps), 2),
    )


def label_delays(labels: Sequence[str | None], segments: Sequence[Segment], fps: float) -> list[float | None]:
    """Seconds from each onset to the first frame that bears its label before the expression ends; None if none does."""
    delays: list[float | None] = []
    for segment in segments:
        first, last = round(segment.onset_s * fps), min(len(labels), round(segment.end_s * fps))
        at = next((index for index in range(first, last) if labels[index] == segment.label), None)
        delays.append(None if at is None else at / fps - segment.onset_s)
    return delays


def switches_per_s(labels: Sequence[str | None], fps: float) -> float:
    """How often a label gives way to another, frames without one left out, a second of the clip."""
    named = [label for label in labels if label is not None]
    changes = sum(a != b for a, b in itertools.pairwise(named))
    return changes / (len(labels) / fps) if labels else 0.0
