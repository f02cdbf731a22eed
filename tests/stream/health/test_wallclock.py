from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import pytest

from stream.health.wallclock import unix_error_ns


def kernel(state: int, status: int, maxerror_us: int) -> Callable[[Any], int]:
    def fill(said: Any) -> int:
        said.status, said.maxerror = status, maxerror_us
        return state

    return fill


@pytest.mark.parametrize(
    ("state", "status", "error_ns"),
    [(0, 0x2001, 1_234_000), (0, 0x0040, None), (5, 0x0001, None), (-1, 0, None), (1, 0x0001, 1_234_000)],
    ids=["disciplined", "unsynchronised", "in error", "refused", "before a leap second"],
)
def test_the_error_is_known_only_where_something_disciplines_the_clock(
    state: int, status: int, error_ns: int | None
) -> None:
    assert unix_error_ns(kernel(state, status, 1_234)) == error_ns


def test_this_kernel_says_what_its_own_clock_says() -> None:
    room = (ctypes.c_char * 512)()
    state = ctypes.CDLL(None).adjtimex(room)
    fields = ctypes.cast(room, ctypes.POINTER(ctypes.c_long))
    status = ctypes.cast(ctypes.addressof(room) + 5 * 8, ctypes.POINTER(ctypes.c_int))[0]
    error_ns = unix_error_ns()
    if state < 0 or state == 5 or status & 0x40:
        assert error_ns is None
    else:
        assert error_ns is not None
        assert abs(error_ns - fields[3] * 1000) < 1_000_000_000  # it grows by 0.5 ms a second
