from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.ring import FeatureRing

STEPS = st.lists(
    st.tuples(st.sampled_from(["push", "push", "push", "repeat", "reset"]), st.integers(0, 2)), max_size=120
)


def offline(history: list[float], window: int, stride: int) -> list[float]:
    """The plain definition: walk back from the newest, repeat the oldest that the walk reaches."""
    walked = history[::-1][::stride][:window]
    return walked[::-1] if len(walked) == window else [walked[-1]] * (window - len(walked)) + walked[::-1]


@settings(deadline=None, max_examples=150)
@given(STEPS, st.integers(1, 6), st.integers(1, 4), st.integers(0, 3))
def test_ring_equals_offline_windows(steps: list[tuple[str, int]], window: int, stride: int, slack: int) -> None:
    ring = FeatureRing(3, window * stride + slack, 2)
    address = ring.flat.ctypes.data
    history: list[list[float]] = [[], [], []]
    for value, (action, slot) in enumerate(steps):
        if action == "push":
            ring.push(slot, np.array([value, -value], np.float32))
            history[slot].append(float(value))
        elif action == "repeat" and history[slot]:
            ring.repeat(slot)
            history[slot].append(history[slot][-1])
        elif action == "reset":
            ring.reset(slot)
            history[slot].clear()
        for other in range(3):  # every face's window, after every step of any face
            kept = history[other][-ring.length :]
            assert ring.fill(other) == len(kept)
            if kept:
                rows = ring.index(other, window, stride)
                assert ring.flat[rows, 0].tolist() == offline(kept, window, stride)
                assert ring.flat[rows, 1].tolist() == [-v for v in offline(kept, window, stride)]
                assert ring.count(other, window, stride) == min(window, len(kept[::-1][::stride]))
    assert ring.flat.ctypes.data == address


def test_index_names_rows_of_the_flat_buffer() -> None:
    ring = FeatureRing(faces=2, length=4, width=3)
    for value in range(5):
        ring.push(1, np.full(3, value, np.float32))
    rows = ring.index(1, 4)
    assert rows.dtype == np.int32
    assert rows.tolist() == [5, 6, 7, 4]  # place 0 of slot 1 was overwritten by the fifth feature
    assert ring.flat.shape == (8, 3)
    assert ring.flat[rows][:, 0].tolist() == [1, 2, 3, 4]
    assert not ring.flat[:4].any()
    assert ring.index(1, 2, 3).tolist() == [5, 4]  # the longest stride that a ring of 4 holds
    assert (ring.faces, ring.length, ring.width) == (2, 4, 3)


def test_memory_is_aligned_and_keeps_its_dtype() -> None:
    # One alone may lie at a multiple of 64 by chance.
    rings = [FeatureRing(1, 1, width) for width in range(1, 200)]
    assert [ring.flat.ctypes.data % 64 for ring in rings] == [0] * len(rings)
    ring = FeatureRing(3, 5, 7, "float16")
    ring.push(0, np.full(7, 1 / 3, np.float32))
    assert ring.flat.dtype == np.float16


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda r: r.index(0, 4), "is empty"),
        (lambda r: r.repeat(0), "nothing to repeat"),
        (lambda r: r.index(1, 3, 2), "do not fit"),
        (lambda r: r.index(1, 0), "do not fit"),
        (lambda r: r.index(1, 1, 0), "do not fit"),
        (lambda r: r.push(0, np.zeros(5, np.float32)), r"shape \(3,\), not \(5,\)"),
        (lambda _: FeatureRing(0, 4, 3), "at least 1, not 0, 4, 3"),
        (lambda _: FeatureRing(2, 0, 3), "at least 1, not 2, 0, 3"),
        (lambda _: FeatureRing(2, 4, 0), "at least 1, not 2, 4, 0"),
    ],
)
def test_impossible_requests_are_refused(call: Any, message: str) -> None:
    ring = FeatureRing(2, 4, 3)
    ring.push(1, np.zeros(3, np.float32))
    with pytest.raises(ValueError, match=message):
        call(ring)


@pytest.mark.parametrize("slot", [-1, 2])
def test_unknown_slot_is_refused(slot: int) -> None:
    with pytest.raises(IndexError, match=r"outside 0\.\.1$|out of range$"):
        FeatureRing(2, 4, 3).push(slot, np.zeros(3, np.float32))


def test_storage_gets_rows_of_the_same_arithmetic() -> None:
    calls: list[tuple[Any, ...]] = []

    class Recorder:
        flat = "device memory"

        def write(self, row: int, feature: Any) -> None:
            calls.append(("write", row, feature))

        def copy(self, target: int, source: int) -> None:
            calls.append(("copy", target, source))

    ring = FeatureRing(2, 2, 8, storage=Recorder())
    for name in "abc":
        ring.push(1, name)
    ring.repeat(1)
    assert calls == [("write", 2, "a"), ("write", 3, "b"), ("write", 2, "c"), ("copy", 3, 2)]
    assert ring.flat == "device memory"
