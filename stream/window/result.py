"""What the windows hand to the rest of the daemon."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.backends import BackendError, HeadOutput

STARVED_SHARE = 0.5
"""A window with more than this share of repeated samples is not ready: most of it was never seen."""


@dataclass(frozen=True)
class WindowScore:
    """What the head said of one face's window.

    Attributes:
        logits: ``(C,)`` float32, raw.
        relevance: ``(T,)`` float32, oldest sample first, non-negative, sums to 1.
        now: ``(C,)`` float32 logits of the newest sample alone, where the model has them.
        t_ns: Capture time of the newest sample, CLOCK_MONOTONIC ns.
        frame_id: Frame of the newest sample.
        full: Whether every place of the scored window held a sample.
    """

    logits: NDArray[np.float32]
    relevance: NDArray[np.float32]
    now: NDArray[np.float32] | None
    t_ns: int
    frame_id: int
    full: bool = True

    @classmethod
    def of(cls, output: HeadOutput, row: int, t_ns: int, frame_id: int, full: bool) -> WindowScore:
        """One window's row of the head's output; its relevance is made non-negative and sums to 1.

        Raises:
            BackendError: If a logit is not finite: the daemon goes on with another back end then.
        """
        now = None if output.now is None else np.array(output.now[row], np.float32)
        if not np.isfinite(output.logits[row]).all() or (now is not None and not np.isfinite(now).all()):
            raise BackendError(
                "its scores are not finite numbers", "dfer-engine verify says whether the model is whole"
            )
        relevance = np.maximum(np.nan_to_num(output.relevance[row]), 0).astype(np.float32)
        total = float(relevance.sum())
        relevance = relevance / total if total > 0 else np.full_like(relevance, 1 / relevance.size)
        return cls(np.array(output.logits[row], np.float32), relevance, now, t_ns, frame_id, full)


@dataclass(frozen=True)
class WindowReport:
    """How full a face's window is.

    Attributes:
        n: Samples seen since the last reset, at most ``need``.
        need: T, samples of a full window.
        span_ms: Time between the window's oldest and newest sample.
        gaps: Samples of the window that repeat the one before them.
        score: The newest score, or None before the first.
    """

    n: int
    need: int
    span_ms: float
    gaps: int
    score: WindowScore | None

    @property
    def full(self) -> bool:
        """Whether every place of the window holds a sample of this face."""
        return self.n >= self.need

    @property
    def starved(self) -> bool:
        """Whether too much of the window is repetition."""
        return self.gaps > STARVED_SHARE * self.need
