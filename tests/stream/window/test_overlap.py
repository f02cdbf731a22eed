"""Long steps beside the frames: the same scores, later; real models, with a device that takes its time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.backends import Backend, BackendError, Features, HeadOutput, open_backend
from engine.ring import FeatureRing
from stream.window.overlap import Overlap, StepResult
from stream.window.result import WindowScore
from stream.window.windows import FaceWindows

DEADLINE_S = 20
CROPS = np.random.default_rng(3).integers(0, 256, (64, 32, 32, 3), dtype=np.uint8)


class Device:
    """A real back end on a device whose steps take the time they are told to, on a clock of their own.

    It fails at the n-th encoding where told to, and encodes only while `open` is set.
    """

    def __init__(self, backend: Backend, cost_ms: float, name: str = "openvino", fails_at: int | None = None) -> None:
        self._backend, self.cost_ms, self._fails_at, self.count = backend, cost_ms, fails_at, 0
        self.name, self.precision, self.device = name, backend.precision, backend.device
        self.spec, self.reason, self.degraded = backend.spec, backend.reason, False
        self.threads: set[str] = set()
        self.now_ns, self.score_ms = 0, 0.0
        self.open = threading.Event()
        self.open.set()

    def ring(self, faces: int, length: int) -> FeatureRing:
        return self._backend.ring(faces, length)

    def encode(self, crops: NDArray[np.uint8]) -> Features:
        self.threads.add(threading.current_thread().name)
        assert self.open.wait(DEADLINE_S), "nobody let the device go on"
        self.count += 1
        self.now_ns += round(self.cost_ms * 1e6)
        if self.count == self._fails_at:
            raise BackendError("the device is gone")
        return self._backend.encode(crops)

    def head(self, ring_flat: Any, index: NDArray[np.int32]) -> HeadOutput:
        self.now_ns += round(self.score_ms * 1e6)
        return self._backend.head(ring_flat, index)

    def close(self) -> None:
        self._backend.close()


def overlap_on(device: Device, allowed: bool = True) -> tuple[FaceWindows, Overlap]:
    windows = FaceWindows(device.spec, device, faces=1)
    return windows, Overlap(windows, allowed, lambda: device.now_ns)


@pytest.fixture(scope="module")
def backend(small_bundle: Callable[[str], Path]) -> Backend:
    return open_backend(small_bundle("frames"), "onnxruntime", threads=1)


def play(device: Device, allowed: bool, ticks: int, limit_ms: float) -> tuple[dict[int, WindowScore], Overlap]:
    """Two frames per tick; returns the scores by the frame they speak for."""
    windows, overlap = overlap_on(device, allowed)
    scores = {}
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
    device = Device(backend, 20)
    beside, overlap = play(device, True, 24, limit_ms=5)
    assert overlap.engaged
    assert len(device.threads) == 2  # the first step, whose cost was unknown, ran in place
    in_place, _ = play(Device(backend, 20), False, 24, limit_ms=5)
    assert beside.keys() == in_place.keys() == set(range(0, 48, 2))
    for frame, score in in_place.items():
        np.testing.assert_allclose(beside[frame].logits, score.logits, atol=1e-6)
        assert (beside[frame].t_ns, beside[frame].full) == (score.t_ns, score.full)


def test_frames_go_on_while_a_step_runs(backend: Backend) -> None:
    windows, overlap = overlap_on(device := Device(backend, 100))
    assert overlap.step(windows.begin(0, {"a": CROPS[0]}, 0, 0), 50) == StepResult(1, 100)
    device.open.clear()
    assert overlap.step(windows.begin(1, {"a": CROPS[1]}, 1, 4), 50) is None
    for _ in range(3):
        assert overlap.collect(wait=False) is None
    score = windows.report("a").score
    assert score is not None
    assert score.frame_id == 0
    device.open.set()
    assert overlap.collect(wait=True) == StepResult(1, 100)
    score = windows.report("a").score
    assert score is not None
    assert score.frame_id == 4
    overlap.close()


def test_a_step_costs_what_encoding_and_scoring_cost(backend: Backend) -> None:
    windows, overlap = overlap_on(device := Device(backend, 5))
    device.score_ms = 12.5
    assert overlap.step(windows.begin(0, {"a": CROPS[0]}, 0, 0), 15) == StepResult(1, 17.5)
    assert overlap.step(windows.begin(1, {"a": CROPS[1]}, 1, 4), 15) is None  # beside the frames: over the limit
    assert overlap.collect(wait=True) == StepResult(1, 17.5)
    overlap.close()


def test_it_ends_only_once_steps_are_clearly_shorter_than_the_limit(backend: Backend) -> None:
    windows, overlap = overlap_on(device := Device(backend, 51))
    engaged = []
    for tick, cost_ms in enumerate([51, 51, *[45] * 20, *[30] * 20]):
        device.cost_ms = cost_ms
        overlap.step(windows.begin(tick, {"a": CROPS[tick]}, tick, tick), 50)
        overlap.collect(wait=True)
        engaged.append(overlap.engaged)
    # 45 ms is under the limit of 50, but over the share of it at which steps leave the thread again.
    assert engaged[:22] == [False] + [True] * 21
    assert not any(engaged[30:])
    overlap.close()


@pytest.mark.parametrize(
    ("cost_ms", "name", "allowed"), [(20, "openvino", False), (20, "tensorrt", True), (9, "openvino", True)]
)
def test_short_steps_files_and_gpus_stay_in_place(backend: Backend, cost_ms: float, name: str, allowed: bool) -> None:
    device = Device(backend, cost_ms, name)
    _, overlap = play(device, allowed, 6, limit_ms=10)
    assert not overlap.engaged
    assert device.threads == {threading.current_thread().name}


def test_a_failing_device_is_heard_of_when_the_result_is_due(backend: Backend) -> None:
    windows, overlap = overlap_on(Device(backend, 20, fails_at=3))
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
    windows, overlap = overlap_on(device := Device(backend, 50))
    overlap.step(windows.begin(0, {"a": CROPS[0]}, 0, 0), 5)
    device.open.clear()
    overlap.step(windows.begin(1, {"a": CROPS[1]}, 1, 1), 5)
    closing = threading.Thread(target=overlap.close)
    closing.start()
    assert closing.is_alive()
    device.open.set()
    closing.join(DEADLINE_S)
    assert device.count == 2
    assert not {thread.name for thread in threading.enumerate()} & device.threads - {threading.current_thread().name}
