"""Rules that take a run on real crops: magnitudes in FP16, and what rounding does to the scores."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from engine.bundle.golden import Bounds, Golden, compare
from engine.graph.check.findings import Finding
from engine.graph.check.rules import LIMIT
from engine.graph.half import HalfRun


def activation_range(run: HalfRun) -> Iterator[Finding]:
    """No half tensor exceeds a quarter of half's range on the golden crops."""
    for name, peak in run.peaks.items():
        if not peak <= LIMIT:
            yield Finding("activation-range", name, f"largest magnitude {peak:.4g} exceeds {LIMIT:g} in FP16")


def rounding(run: HalfRun, golden: Golden) -> Iterator[Finding]:
    """Rounded to half after every node, the scores stay with FP32's."""
    bounds, parity = Bounds(), compare(run.probs, golden)
    if not parity.finite:
        first = next((n for n, peak in run.peaks.items() if not np.isfinite(peak)), "scores")
        yield Finding("rounding", first, "overflows in half precision, so that scores are not numbers")
        return
    if parity.max_delta > bounds.max_delta:
        message = f"probabilities move by up to {parity.max_delta:.4f} in half, {bounds.max_delta} is allowed"
        yield Finding("rounding", "scores", message)
    if parity.top1 < bounds.top1:
        message = f"only {parity.top1:.1%} of windows keep their class in half, {bounds.top1:.0%} must"
        yield Finding("rounding", "scores", message)
