"""Long steps beside the frames: the same scores, later; real models, with a device that takes its time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.backends import Backend, BackendError, Features, HeadOutput, open_backend
from engine.ring import FeatureRing
from stream.window.overlap import Overlap
from stream.window.result import WindowScore
from stream.window.windows import FaceWindows

CROPS = np.random.default_rng(3).integers(0, 256, (64, 32, 32, 3), dtype=np.uint8)


class Slow:
    """A real back end on a slow device, which fails at the n-th encoding where told to."""

    def __init__(self, backend: Backend, delay_s: float, name: str = "openvino", fails_at: int | None = None) -> None:
        self._backend, self.delay_s, self._fails_at, self._count = backend, delay_s, fails_at, 0
        self.name, self.precision, self.device = name, backend.precision, backend.device
        self.spec, self.reason, self.degraded = backend.spec, backend.reason, False
        self.threads: set[str] = set()

    def ring(self, faces: int, length: int) -> FeatureRing:
        return self._backend.ring(faces, length)

    def encode(self, crops: NDArray[np.uint8]) -> Features:
        self._count += 1
        self.threads.add(threading.current_thread().name)
        time.sleep(self.delay_s)
        if self._count == self._fails_at:
            raise BackendError("the device is gone")
        return self._backend.encode(crops)

    def head(self, ring_flat: Any, index: NDArray[np.int32]) -> HeadOutput:
        return self._backend.head(ring_flat, index)

    def close(self) -> None:
        self._backend.close()


@pytest.fixture
def backend(small_bundle: Callable[[str], Path]) -> Backend:
    return open_backend(small_bundle("frames"), "onnxruntime", threads=1)


def play(backend: Backend, allowed: bool, ticks: int, limit_ms: float) -> tuple[dict[int, WindowScore], Overlap]:
    """Two frames per tick; returns the scores by the frame they speak for."""
    windows = FaceWindows(backend.spec, backend, faces=1)
    overlap, scores = Overlap(windows, allowed), {}
    for frame in range(2 * ticks):
        sampled = frame % 2 == 0
        overlap.collect(wait=sampled)
        if sampled:
            overlap.step(windows.begin(frame // 2, {"a": CROPS[frame // 2]}, frame, frame), limit_ms)
        if (score := windows.report("a").score) is not None:
            scores[score.frame_id] = score
    overlap.collect(wait=True)
    if (score := windows.report("a").score) is not None:
        scores[score.frame_id] = score
    overlap.close()
    return scores, overlap


def test_scores_are_those_of_steps_run_in_place(backend: Backend) -> None:
    slow = Slow(backend, 0.02)
    beside, overlap = play(slow, True, 24, limit_ms=5)
    assert overlap.engaged
    assert len(slow.threads) == 2  # the first step, whose cost was unknown, ran in place
    in_place, _ = play(backend, False, 24, limit_ms=5)
    assert beside.keys() == in_place.keys() == set(range(0, 48, 2))
    for frame, score in in_place.items():
        np.testing.assert_allclose(beside[frame].logits, score.logits, atol=1e-6)
        assert (beside[frame].t_ns, beside[frame].full) == (score.t_ns, score.full)


def test_frames_go_on_while_a_step_runs(backend: Backend) -> None:
    windows = FaceWindows(backend.spec, slow := Slow(backend, 0.1), faces=1)
    overlap = Overlap(windows)
    assert overlap.step(windows.begin(0, {"a": CROPS[0]}, 0, 0), 50) is not None
    began = time.monotonic()
    assert overlap.step(windows.begin(1, {"a": CROPS[1]}, 1, 4), 50) is None
    assert overlap.collect(wait=False) is None
    assert time.monotonic() - began < 0.08
    score = windows.report("a").score
    assert score is not None
    assert score.frame_id == 0
    done = overlap.collect(wait=True)
    assert done is not None
    assert done.elapsed_ms >= 100
    score = windows.report("a").score
    assert score is not None
    assert score.frame_id == 4
    slow.delay_s = 0
    for tick in range(2, 14):
        overlap.step(windows.begin(tick, {"a": CROPS[tick]}, tick, tick), 50)
        overlap.collect(wait=True)
    assert not overlap.engaged
    overlap.close()


@pytest.mark.parametrize(
    ("delay_s", "name", "allowed"), [(0.02, "openvino", False), (0.02, "tensorrt", True), (0, "openvino", True)]
)
def test_short_steps_files_and_gpus_stay_in_place(backend: Backend, delay_s: float, name: str, allowed: bool) -> None:
    slow = Slow(backend, delay_s, name)
    _, overlap = play(slow, allowed, 6, limit_ms=10 if delay_s else 1000)
    assert not overlap.engaged
    assert slow.threads == {threading.current_thread().name}


def test_a_failing_device_is_heard_of_when_the_result_is_due(backend: Backend) -> None:
    windows = FaceWindows(backend.spec, Slow(backend, 0.02, fails_at=3), faces=1)
    overlap = Overlap(windows)
    for tick in range(3):
        overlap.collect(wait=True)
        overlap.step(windows.begin(tick, {"a": CROPS[tick]}, tick, tick), 5)
    with pytest.raises(BackendError, match="the device is gone"):
        overlap.collect(wait=True)
    # Another back end takes over; nothing of the old one is left to collect.
    windows.replace_backend(backend)
    assert overlap.collect(wait=True) is None
    overlap.step(windows.begin(3, {"a": CROPS[3]}, 3, 3), 1000)
    assert windows.report("a").n == 1
    overlap.close()


def test_closing_waits_for_the_device(backend: Backend) -> None:
    windows = FaceWindows(backend.spec, slow := Slow(backend, 0.05), faces=1)
    overlap = Overlap(windows)
    for tick in range(2):
        overlap.step(windows.begin(tick, {"a": CROPS[tick]}, tick, tick), 5)
    overlap.close()
    assert slow._count == 2
    assert "encode_0" not in {thread.name for thread in threading.enumerate()}
