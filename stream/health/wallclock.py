"""How far the wall clock may be off, where the kernel knows it: adjtimex(2), kept by chrony, ntpd or phc2sys.

Within a machine CLOCK_MONOTONIC is the truth. Between machines wall times can be compared as closely as the sum of both
sides' errors, and not at all where either is unknown.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable

_STA_UNSYNC = 0x0040  # <linux/timex.h>
_TIME_ERROR = 5
_NS_PER_US = 1_000


class _Timex(ctypes.Structure):
    """``struct timex`` up to what is read here; the rest is room."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("room", ctypes.c_char * 256),
    )


def unix_error_ns(ask: Callable[[_Timex], int] | None = None) -> int | None:
    """The wall clock's largest error, ns; None where nothing disciplines it, or the system will not say.

    Args:
        ask: Fills a ``struct timex`` and returns the clock's state; the kernel if not given.
    """
    said = _Timex()
    state = (ask or _kernel)(said)
    if state < 0 or state == _TIME_ERROR or said.status & _STA_UNSYNC:
        return None
    return int(said.maxerror) * _NS_PER_US


def _kernel(said: _Timex) -> int:
    try:
        # modes = 0 changes nothing and needs no privilege.
        return int(ctypes.CDLL(None).adjtimex(ctypes.byref(said)))
    except (OSError, AttributeError):
        return -1
