"""Rules that take a run on real crops: magnitudes in FP16, and what rounding does to the scores."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from engine.bundle.bundle import Golden
from engine.graph.check.findings import Finding
from engine.graph.check.rules import LIMIT
from engine.graph.half import HalfRun

DELTA = 0.02
"""Largest allowed difference of a probability to FP32."""
TOP1 = 0.99
"""Smallest allowed share of windows whose most probable class stays the same."""


def activation_range(run: HalfRun) -> Iterator[Finding]:
    """No half tensor exceeds a quarter of half's range on the golden crops."""
    for name, peak in run.peaks.items():
        if not peak <= LIMIT:
            yield Finding("activation-range", name, f"largest magnitude {peak:.4g} exceeds {LIMIT:g} in FP16")


def rounding(run: HalfRun, golden: Golden) -> Iterator[Finding]:
    """Rounded to half after every node, the scores stay with FP32's."""
    if not np.isfinite(run.probs).all():
        first = next((n for n, peak in run.peaks.items() if not np.isfinite(peak)), "scores")
        yield Finding("rounding", first, "overflows in half precision, so that scores are not numbers")
        return
    delta = float(np.abs(run.probs - golden.probs).max())
    same = float((run.probs.argmax(1) == golden.probs.argmax(1)).mean())
    if delta > DELTA:
        yield Finding("rounding", "scores", f"probabilities move by up to {delta:.4f} in half, {DELTA} is allowed")
    if same < TOP1:
        yield Finding("rounding", "scores", f"only {same:.1%} of windows keep their class in half, {TOP1:.0%} must")
