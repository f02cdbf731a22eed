"""Encode beside the frames: where one step takes so long that frames would be dropped, a thread runs it.

Tracking, publishing and the next frames go on meanwhile; the features join their windows on a later frame. The scores
are the same, published a frame or two later, and ``scored_frame_id`` says which frame they speak for. Shorter steps
stay where they are: their scores come out with the very frame that was sampled.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from engine.backends import Features
from stream.window.state import EncodeBatch
from stream.window.windows import FaceWindows

END_SHARE = 0.8
"""Share of the limit below which steps leave the thread again."""
SMOOTHING = 0.3
BACKENDS = ("openvino", "onnxruntime")
"""Back ends that may be called from another thread; a GPU's context belongs to the thread that made it."""


@dataclass(frozen=True)
class StepResult:
    """A finished step.

    Attributes:
        faces: Faces that were sampled.
        elapsed_ms: Time encoding and scoring took, waiting for the thread's turn not included.
        units: Units that were encoded.
    """

    faces: int
    elapsed_ms: float
    units: int = field(default=0, compare=False)


@dataclass(frozen=True)
class _Encoded:
    features: Features | None
    elapsed_ms: float


class Overlap:
    """Runs steps of the windows, here or beside the frames; at most one at a time.

    Args:
        windows: Whose steps.
        allowed: False keeps every step where it is: files whose scores must not depend on this machine's speed.
        now_ns: The clock that steps are timed by.
    """

    def __init__(
        self, windows: FaceWindows, allowed: bool = True, now_ns: Callable[[], int] = time.monotonic_ns
    ) -> None:
        self._windows, self._allowed, self._now_ns = windows, allowed, now_ns
        self._executor: ThreadPoolExecutor | None = None
        self._running: tuple[EncodeBatch, Future[_Encoded]] | None = None
        self._step_ms: float | None = None
        self.engaged = False

    def stays(self, limit_ms: float) -> bool:
        """Whether a step of this limit runs with the frame that it is of, so that it can be one with other cameras'."""
        return self._running is None and not self._engages(limit_ms)

    def done(self, step: StepResult) -> StepResult:
        """Take note of a step that was run together with other cameras'."""
        if step.units:
            before = step.elapsed_ms if self._step_ms is None else self._step_ms
            self._step_ms = before + SMOOTHING * (step.elapsed_ms - before)
        return step

    def step(self, batch: EncodeBatch, limit_ms: float) -> StepResult | None:
        """Run a step, or begin it.

        Args:
            batch: The samples of this tick; the one before it has been taken by :meth:`collect`.
            limit_ms: How long a step may take before frames are dropped.

        Returns:
            What was done, or None where it goes on beside the frames.

        Raises:
            BackendError: If the back end fails.
        """
        if self._running is not None:
            raise RuntimeError("the step before was not collected")
        if not self._engages(limit_ms):
            return self._finish(batch, self._encode(batch))
        if self._executor is None:
            self._executor = ThreadPoolExecutor(1, "encode")
        self._running = batch, self._executor.submit(self._encode, batch)
        return None

    def collect(self, wait: bool) -> StepResult | None:
        """Take the result of a step beside the frames.

        Args:
            wait: Wait for it: the next step is due.

        Returns:
            What was done, or None where nothing is finished.

        Raises:
            BackendError: If the back end failed.
        """
        if self._running is None:
            return None
        batch, future = self._running
        if not wait and not future.done():
            return None
        self._running = None
        return self._finish(batch, future.result())

    def close(self) -> None:
        """Wait for what is running: nobody uses the back end afterwards."""
        self._running = None
        if self._executor is not None:
            self._executor.shutdown(wait=True)
            self._executor = None

    def _engages(self, limit_ms: float) -> bool:
        if not self._allowed or self._step_ms is None or self._windows.backend_name not in BACKENDS:
            self.engaged = False
        else:
            self.engaged = self._step_ms > limit_ms * (END_SHARE if self.engaged else 1)
        return self.engaged

    def _encode(self, batch: EncodeBatch) -> _Encoded:
        began = self._now_ns()
        features = self._windows.encode(batch)
        return _Encoded(features, (self._now_ns() - began) / 1e6)

    def _finish(self, batch: EncodeBatch, encoded: _Encoded) -> StepResult:
        began = self._now_ns()
        self._windows.finish(batch, encoded.features)
        elapsed_ms = encoded.elapsed_ms + (self._now_ns() - began) / 1e6
        return self.done(StepResult(batch.faces, elapsed_ms, len(batch.units)))
