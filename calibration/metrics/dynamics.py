"""How quick, how right and how calm labels are over time, against hand-marked segments. NumPy alone."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

REST = "neutral"
RESTLESS = "contorted"
"""The mark of a stretch in which a face speaks and pulls faces: no label is right there, but few should be shown."""
SETTLED_S = 0.3
"""A segment's first moments count for its onset or release, not for what is shown in it."""
_LEAST_REST_S = 1.4
_NEVER_S = 1.0
"""A label that stays for as long as this after its segment's end, to the end of the clip, is never left."""


@dataclass(frozen=True)
class Segment:
    """A stretch of a clip that shows one thing throughout.

    Attributes:
        clip: Its name.
        t0_s: First moment, s from the clip's first frame.
        t1_s: The moment after it.
        expression: A class name, :data:`REST` or :data:`RESTLESS`.
        person: Whom it shows; segments of one person depend on each other.
        at: A point in the face, px, where the clip shows several; None for the largest.
    """

    clip: str
    t0_s: float
    t1_s: float
    expression: str
    person: str = ""
    at: tuple[float, float] | None = None


@dataclass(frozen=True)
class Shown:
    """What was said of a face at one moment: s from the clip's first frame, and the label, None for none."""

    t_s: float
    label: str | None


@dataclass(frozen=True)
class Traced:
    """What one segment came to.

    Attributes:
        segment: Which.
        onset_s: From its beginning to its label, inf for never; None at rest.
        release_s: From its end until its label was gone, inf for never; None where it was never shown, or nothing
            follows.
        right: Moments that show it.
        other: Moments that show another expression (at rest), anything else (in a segment of an expression).
        none: Moments without a label.
        moments: Of the segment, those judged.
        switches: Changes of what is shown, None included.
        length_s: Of what was judged.
    """

    segment: Segment
    onset_s: float | None
    release_s: float | None
    right: int
    other: int
    none: int
    moments: int
    switches: int
    length_s: float


@dataclass(frozen=True)
class Dynamics:
    """Figures over all segments; NaN where nothing was there to be judged.

    Attributes:
        segments: Expressive segments that begin after the first moments.
        shown: How many of them were shown at all.
        onset_median_s: Of all of them, never shown included.
        onset_p90_s: Of those shown.
        release_median_s: Of those shown that something follows.
        release_max_s: The longest of them.
        right: Share of expressive time that shows the expression.
        rest_s: How much rest was judged.
        rest_switches_hz: Changes of what is shown per second of rest.
        rest_other: Share of rest that shows an expression.
        rest_none: Share of rest without a label.
        restless_hz: Changes per second while a face speaks and pulls faces.
        first_label_s: Median over clips, from the face's first box to its first label.
    """

    segments: int
    shown: int
    onset_median_s: float
    onset_p90_s: float
    release_median_s: float
    release_max_s: float
    right: float
    rest_s: float
    rest_switches_hz: float
    rest_other: float
    rest_none: float
    restless_hz: float
    first_label_s: float


def trace(segment: Segment, shown: Sequence[Shown], warm_s: float = SETTLED_S) -> Traced:
    """Judge one segment.

    Args:
        segment: Which.
        shown: Of its face, in the order of time.
        warm_s: What lies before this moment of the clip is not judged.
    """
    rest = segment.expression in (REST, RESTLESS)
    begins_s = max(segment.t0_s + (SETTLED_S if segment.expression == REST else 0.0), warm_s)
    inside = [each for each in shown if begins_s <= each.t_s < segment.t1_s]
    labels = [each.label for each in inside]
    onset_s = release_s = None
    if not rest and segment.t0_s >= warm_s - 0.05:
        hits = [e.t_s for e in shown if segment.t0_s <= e.t_s < segment.t1_s and e.label == segment.expression]
        onset_s = hits[0] - segment.t0_s if hits else math.inf
        after = [each for each in shown if each.t_s >= segment.t1_s - 1e-6]
        if hits and after:
            left = next((each.t_s for each in after if each.label != segment.expression), None)
            if left is not None:
                release_s = max(left - segment.t1_s, 0.0)
            elif after[-1].t_s - segment.t1_s >= _NEVER_S:
                release_s = math.inf
    right = labels.count(segment.expression)
    none = labels.count(None)
    other = len(labels) - right - (none if rest else 0)
    switches = sum(a != b for a, b in itertools.pairwise(labels))
    length_s = inside[-1].t_s - inside[0].t_s if inside else 0.0
    return Traced(segment, onset_s, release_s, right, other, none, len(labels), switches, length_s)


def dynamics(traced: Sequence[Traced], first_labels_s: Sequence[float] = ()) -> Dynamics:
    """Figures over segments.

    Args:
        traced: Every segment.
        first_labels_s: Of each clip, from the face's first box to its first label, s; inf for never.
    """
    onsets = [each.onset_s for each in traced if each.onset_s is not None]
    released = [each.release_s for each in traced if each.release_s is not None]
    expressive = [each for each in traced if each.segment.expression not in (REST, RESTLESS)]
    rests = [e for e in traced if e.segment.expression == REST and e.segment.t1_s - e.segment.t0_s > _LEAST_REST_S]
    restless = [each for each in traced if each.segment.expression == RESTLESS]
    rest_s, moments = sum(each.length_s for each in rests), sum(each.moments for each in rests)
    return Dynamics(
        segments=len(onsets),
        shown=sum(math.isfinite(each) for each in onsets),
        onset_median_s=_quantile(onsets, 0.5),
        onset_p90_s=_quantile([each for each in onsets if math.isfinite(each)], 0.9),
        release_median_s=_quantile(released, 0.5),
        release_max_s=max(released, default=math.nan),
        right=_share(sum(each.right for each in expressive), sum(each.moments for each in expressive)),
        rest_s=rest_s,
        rest_switches_hz=_share(sum(each.switches for each in rests), rest_s),
        rest_other=_share(sum(each.other for each in rests), moments),
        rest_none=_share(sum(each.none for each in rests), moments),
        restless_hz=_share(sum(each.switches for each in restless), sum(each.length_s for each in restless)),
        first_label_s=_quantile(first_labels_s, 0.5),
    )


def right_interval(traced: Sequence[Traced], other: Sequence[Traced] = (), draws: int = 1000) -> tuple[float, float]:
    """95 % interval of the share of expressive time right, or of its gain over another's, resampled by person.

    Args:
        traced: Every segment.
        other: The same segments by another; empty for none.
        draws: Resamples.
    """
    counts: dict[str, list[int]] = {}
    for sign, side in ((0, traced), (2, other)):
        for each in side:
            if each.segment.expression not in (REST, RESTLESS):
                row = counts.setdefault(each.segment.person or each.segment.clip, [0, 0, 0, 0])
                row[sign] += each.right
                row[sign + 1] += each.moments
    if not counts:
        return math.nan, math.nan
    table = np.array(list(counts.values()), np.float64)
    drawn = np.random.default_rng(0).integers(0, len(table), (draws, len(table)))
    sums = table[drawn].sum(1)
    shares = sums[:, 0] / np.maximum(sums[:, 1], 1) - (sums[:, 2] / np.maximum(sums[:, 3], 1) if other else 0.0)
    low, high = np.percentile(shares, [2.5, 97.5])
    return float(low), float(high)


def first_label_s(shown: Mapping[str, Sequence[Shown]]) -> float:
    """From the first box of the clip's first labelled face to its label, s, inf for never; `shown` by face."""
    waits = [
        next((each.t_s for each in moments if each.label is not None), math.inf) - moments[0].t_s
        for moments in shown.values()
        if moments
    ]
    return min(waits, default=math.nan)


def _quantile(values: Sequence[float], share: float) -> float:
    if not values:
        return math.nan
    return sorted(values)[math.ceil(share * (len(values) - 1)) if share > 0.5 else (len(values) - 1) // 2]


def _share(part: float, whole: float) -> float:
    return part / whole if whole else math.nan
