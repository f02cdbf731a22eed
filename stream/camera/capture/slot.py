"""The slot: one newest frame in shared memory, between a capture process and its parent.

Three buffers: the writer owns one, the reader owns one, the third holds the newest finished frame. Pixels are
written and read without any lock; only the exchange of two indices is locked, for microseconds. So a torn
frame is impossible by construction, the writer never waits for the reader, and the kernel's lock is also the
memory barrier that a seqlock in Python would lack on ARM. The lock is a POSIX record lock: the kernel frees
it when its holder dies.

The memory is an anonymous ``memfd``: nothing appears under ``/dev/shm`` and nothing can leak, whoever is
killed. It is mapped once, sparse, at the largest frame allowed, so a change of frame size needs no
hand-shake; only pages that were written take memory.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import time
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from stream.camera.frame import MAX_FRAME_BYTES, CameraError, Pictured, check_size
from stream.camera.pixels import CODINGS, Coding, Image, PlanarPixels

_HEADER_BYTES = 4096
_BYTES = _HEADER_BYTES + 3 * MAX_FRAME_BYTES
_STATE, _CAPTURED, _ARRIVAL, _IDLE = 0, 1, 2, 3
_META, _META_WORDS = 16, 16
IDLE_FOR_EVER = 2**63 - 1


@dataclass(frozen=True)
class SlotMeta:
    """What travels with a frame; all int64.

    Attributes:
        seq: Frames captured before this one.
        t_capture_ns: CLOCK_MONOTONIC ns.
        t_capture_unix_ns: Wall clock ns.
        t_arrival_ns: CLOCK_MONOTONIC ns at which the frame was in memory.
        src: Index into ``frame.SOURCES_OF_TIME``.
        digest: Hash of the pixels for the frozen detector, 0 where it does not apply.
        position: Files: number of this frame within its pass of the file.
        base_ns: Files: media time at which this pass of the file began.
        fault: Index into ``faults.FAULTS``.
        layout: 0 for RGB; for planes 1 + the index of their coding in ``pixels.CODINGS``.
    """

    seq: int
    t_capture_ns: int
    t_capture_unix_ns: int
    t_arrival_ns: int
    src: int
    digest: int = 0
    position: int = 0
    base_ns: int = 0
    fault: int = 0
    layout: int = 0


@dataclass(frozen=True, eq=False)
class SlotFrame(Pictured):
    """The newest frame as it lies in the slot.

    Attributes:
        content: ``(H, W, 3)`` uint8 RGB view, or planes; valid until the next ``take``.
        meta: What travels with it.
    """

    content: Image
    meta: SlotMeta


_FIELDS = len(fields(SlotMeta))


class Slot:
    """One end of the slot. Writer: ``paint`` → ``commit``. Reader: ``take``.

    Args:
        fd: The memfd, already sized (see ``create``); owned by this object from here on.
    """

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._map = mmap.mmap(fd, _BYTES)
        self._bytes: NDArray[np.uint8] = np.frombuffer(self._map, np.uint8)
        self._words: NDArray[np.int64] = self._bytes[:_HEADER_BYTES].view(np.int64)

    @classmethod
    def create(cls) -> Slot:
        """Make an empty slot in anonymous shared memory.

        Raises:
            CameraError: If the system refuses the memory.
        """
        try:
            fd = os.memfd_create("dferstream-frame", os.MFD_CLOEXEC)
            os.ftruncate(fd, _BYTES)
            slot = cls(fd)
        except OSError as error:
            raise CameraError(
                f"no shared memory for frames ({error})", "raise the memory or file-size limit"
            ) from error
        slot._words[_STATE] = _pack(0, 1, 2, False)
        return slot

    def close(self) -> None:
        """Unmap and close this end; a view still held keeps its memory until it is dropped."""
        if self.fd >= 0:
            del self._words, self._bytes
            with contextlib.suppress(BufferError):
                self._map.close()
            os.close(self.fd)
            self.fd = -1

    # Words that one side writes and the other only reads: single aligned stores, no lock needed.
    @property
    def captured(self) -> int:
        """Frames committed so far, those of earlier writers included."""
        return int(self._words[_CAPTURED])

    @property
    def arrival_ns(self) -> int:
        """CLOCK_MONOTONIC ns of the newest committed frame, 0 before the first."""
        return int(self._words[_ARRIVAL])

    @property
    def idle_until_ns(self) -> int:
        """The writer waits on purpose until then (pacing, back-pressure); silence before it is no stall."""
        return int(self._words[_IDLE])

    @idle_until_ns.setter
    def idle_until_ns(self, value: int) -> None:
        self._words[_IDLE] = value

    @property
    def full(self) -> bool:
        """Whether a committed frame has not been taken yet."""
        return bool(int(self._words[_STATE]) >> 6)

    def start_at(self, captured: int) -> None:
        """Set the count: that of an earlier slot, or with frames that were lost before they could be written."""
        self._words[_CAPTURED] = captured

    def paint(self, height: int, width: int) -> NDArray[np.uint8]:
        """Give the writer's buffer as ``(height, width, 3)`` uint8 to fill.

        Raises:
            FrameLost: If the frame is larger than the slot allows.
        """
        check_size(width, height)
        return self._image(int(self._words[_STATE]) & 3, height, width)

    def paint_planes(self, height: int, width: int, coding: Coding) -> PlanarPixels:
        """Give the writer's buffer as planes to fill.

        Raises:
            FrameLost: If the frame is larger than the slot allows.
        """
        check_size(width, height)
        return self._planes(int(self._words[_STATE]) & 3, height, width, coding)

    def commit(self, meta: SlotMeta, height: int, width: int) -> None:
        """Make the painted frame the newest one."""
        fcntl.lockf(self.fd, fcntl.LOCK_EX)
        try:
            write, middle, read, _ = _unpack(int(self._words[_STATE]))
            base = _META + write * _META_WORDS
            self._words[base : base + _FIELDS] = tuple(vars(meta).values())
            self._words[base + _FIELDS : base + _FIELDS + 2] = height, width
            self._words[_CAPTURED] = meta.seq + 1
            self._words[_ARRIVAL] = meta.t_arrival_ns
            # One store commits: a writer killed just before it leaves the previous frame whole.
            self._words[_STATE] = _pack(middle, write, read, True)
        finally:
            fcntl.lockf(self.fd, fcntl.LOCK_UN)

    def take(self) -> SlotFrame | None:
        """Take the newest frame, at most once; None if there is no new one."""
        if not self.full or not self._lock_soon():
            return None
        try:
            write, middle, read, fresh = _unpack(int(self._words[_STATE]))
            if not fresh:
                return None
            self._words[_STATE] = _pack(write, read, middle, False)
        finally:
            fcntl.lockf(self.fd, fcntl.LOCK_UN)
        base = _META + middle * _META_WORDS
        values = [int(v) for v in self._words[base : base + _FIELDS + 2]]
        meta, (height, width) = SlotMeta(*values[:_FIELDS]), values[_FIELDS:]
        if meta.layout:
            return SlotFrame(self._planes(middle, height, width, CODINGS[meta.layout - 1]), meta)
        return SlotFrame(self._image(middle, height, width), meta)

    def _lock_soon(self) -> bool:
        # The writer holds the lock for microseconds; one that was stopped inside must not hang the reader.
        for _ in range(20):
            try:
                fcntl.lockf(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
            except BlockingIOError:
                time.sleep(0.0002)
        return False

    def _image(self, buffer: int, height: int, width: int) -> NDArray[np.uint8]:
        start = _HEADER_BYTES + buffer * MAX_FRAME_BYTES
        return self._bytes[start : start + height * width * 3].reshape(height, width, 3)

    def _planes(self, buffer: int, height: int, width: int, coding: Coding) -> PlanarPixels:
        start, planes = _HEADER_BYTES + buffer * MAX_FRAME_BYTES, []
        for h, w in ((height, width), *((-(-height // 2), -(-width // 2)),) * 2):
            planes.append(self._bytes[start : start + h * w].reshape(h, w))
            start += h * w
        return PlanarPixels(planes[0], planes[1], planes[2], coding)


def _pack(write: int, middle: int, read: int, fresh: bool) -> int:
    return write | middle << 2 | read << 4 | int(fresh) << 6


def _unpack(state: int) -> tuple[int, int, int, bool]:
    return state & 3, state >> 2 & 3, state >> 4 & 3, bool(state >> 6)
