"""How this process's C library keeps memory; each call to be made before threads are started and pictures decoded."""

from __future__ import annotations

import contextlib
import ctypes

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_KEPT_BYTES = 64 * 1024 * 1024
# The most that the GNU C library takes on 64 bits.
_MAPPED_BYTES = 32 * 1024 * 1024


def one_arena() -> None:
    """Let all threads of this process take memory from one arena; to be called before the first of them is started.

    The GNU C library gives each thread an arena of its own, and what a thread that loaded a net has freed there is of
    no use to the others: 10 MB of a daemon. Threads that share one wait for each other; here one works at a time.
    Other C libraries have no such call and are left as they are.
    """
    _set(_M_ARENA_MAX, 1)


def keep_freed() -> None:
    """Keep up to 64 MB of freed memory for what is asked for next; for processes that decode pictures.

    A decoder frees each picture and asks for the next, which the GNU C library answers by giving pages back and
    fetching new ones: 700 page faults a frame at 640×480, and two thirds of a capture process's time (by turns, 3,000
    frames without a face, daemon and child together: 6.3 CPU s, 3.9 with this; EPYC, 2026-11-28).
    """
    _set(_M_TRIM_THRESHOLD, _KEPT_BYTES)
    _set(_M_MMAP_THRESHOLD, _MAPPED_BYTES)


def _set(parameter: int, value: int) -> None:
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).mallopt(parameter, value)
