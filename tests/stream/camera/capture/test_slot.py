"""The shared-memory slot: newest wins, never twice, never torn."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.camera.capture.slot import Slot, SlotMeta
from stream.camera.frame import MAX_FRAME_BYTES, FrameLost

ROOT = Path(__file__).resolve().parents[4]
WRITER = Path(__file__).with_name("slot_writer.py")
SIZES = ((48, 64), (240, 320), (7, 5), (480, 640))


def start_writer(slot: Slot) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, str(WRITER), str(slot.fd)],
        pass_fds=(slot.fd,),
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(st.none(), st.tuples(st.integers(1, 40), st.integers(1, 40))), max_size=40))
def test_newest_wins_and_never_twice(steps: list[tuple[int, int] | None]) -> None:
    """A step is a frame of that size, or (None) a look by the reader."""
    slot = Slot.create()
    seq, newest, held = 0, None, None
    for step in steps:
        if step is not None:
            slot.paint(*step)[:] = seq % 251
            slot.commit(SlotMeta(seq, seq, seq, seq + 1, 1), *step)
            newest, seq = (seq, step), seq + 1
        else:
            taken = slot.take()
            assert (taken is None) == (newest is None)
            if taken is not None and newest is not None:
                view, meta = taken.image, taken.meta
                assert meta.seq == newest[0]
                assert view.shape == (*newest[1], 3)
                held = (view, meta.seq)
            newest = None
        if held is not None:
            # The view stays whole whatever is written after it was taken.
            assert (held[0] == held[1] % 251).all()
        assert slot.captured == seq
        assert slot.full == (newest is not None)
    slot.close()


def test_frames_of_another_process_are_never_torn() -> None:
    slot = Slot.create()
    writer = start_writer(slot)
    try:
        last, taken_frames = -1, 0
        shapes: set[tuple[int, ...]] = set()
        deadline = time.monotonic() + 60
        while (taken_frames < 500 or len(shapes) < len(SIZES)) and time.monotonic() < deadline:
            assert writer.poll() is None
            taken = slot.take()
            if taken is None:
                continue
            view, meta = taken.image, taken.meta
            assert meta.seq > last
            assert view.shape[:2] == SIZES[meta.seq // 100 % len(SIZES)]
            assert view.min() == view.max() == meta.seq % 251
            assert (meta.t_capture_ns, meta.t_capture_unix_ns, meta.t_arrival_ns, meta.digest) == (
                meta.seq * 7,
                meta.seq * 11,
                meta.seq + 1,
                meta.seq % 13,
            )
            last, taken_frames = meta.seq, taken_frames + 1
            shapes.add(view.shape)
        assert taken_frames >= 500
        assert len(shapes) == len(SIZES)
        assert last > taken_frames, "the writer was never faster than the reader: nothing was tested"
    finally:
        writer.kill()
        writer.wait()


def test_a_writer_killed_at_any_moment_leaves_whole_frames_and_no_lock() -> None:
    for _ in range(5):
        slot = Slot.create()
        writer = start_writer(slot)
        deadline = time.monotonic() + 30
        while slot.captured < 200 and time.monotonic() < deadline:
            os.sched_yield()
        os.kill(writer.pid, signal.SIGKILL)
        writer.wait()
        taken = slot.take()
        if taken is not None:
            view, meta = taken.image, taken.meta
            assert view.min() == view.max() == meta.seq % 251
        slot.paint(4, 4)[:] = 9
        slot.commit(SlotMeta(7, 0, 0, 1, 0), 4, 4)
        again = slot.take()
        assert again is not None
        assert again.meta.seq == 7
        slot.close()


def test_nothing_appears_in_dev_shm() -> None:
    before = set(os.listdir("/dev/shm"))
    slot = Slot.create()
    slot.paint(480, 640)[:] = 1
    assert set(os.listdir("/dev/shm")) == before
    slot.close()
    slot.close()


def test_a_frame_too_large_is_refused() -> None:
    slot = Slot.create()
    with pytest.raises(FrameLost, match="too large"):
        slot.paint(MAX_FRAME_BYTES, 1)
    slot.close()


def test_only_written_pages_take_memory() -> None:
    slot = Slot.create()
    slot.paint(48, 64)[:] = np.uint8(3)
    assert os.fstat(slot.fd).st_blocks * 512 < 100_000
    slot.close()
