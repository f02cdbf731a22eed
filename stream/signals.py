"""The daemon's one signal policy, from before its socket exists until the last status is written.

SIGINT, SIGTERM, SIGHUP and SIGQUIT ask it to end: last status sent, socket file removed. A second one ends it at
once. Where there are settings to read anew, SIGHUP asks for that instead, unless the terminal is gone: then it ends as
before. SIGUSR1 and SIGUSR2 mean nothing here: they are ignored, and a line says so.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable
from types import FrameType

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
IGNORED = (signal.SIGUSR1, signal.SIGUSR2)
_STDERR = 2


class Stopped(BaseException):
    """Asked to end before there was a loop to stop; unwinds what is open, like ``KeyboardInterrupt``."""


class SignalPolicy:
    """Handles the process's signals inside a ``with`` block; the handlers before it come back after it.

    A SIGHUP that is ignored when the block begins stays so: that is what ``nohup`` asks for. Main thread only.
    """

    def __init__(self) -> None:
        self._stop: Callable[[], None] | None = None
        self._reload: Callable[[], None] | None = None
        self._terminal = _has_terminal()
        self._before: dict[signal.Signals, signal.Handlers | Callable[[int, FrameType | None], object] | int | None]
        self._before = {}

    def __enter__(self) -> SignalPolicy:
        for number in (*ENDING, *IGNORED):
            if number == signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN:
                continue
            self._before[number] = signal.signal(number, self._end if number in ENDING else _ignore)
        return self

    def __exit__(self, *exc: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def then(self, stop: Callable[[], None], reload: Callable[[], None] | None = None) -> None:
        """From now on a signal calls `stop`, SIGHUP `reload` where that is given, and interrupts nothing."""
        self._stop, self._reload = stop, reload

    def _end(self, number: int, frame: FrameType | None) -> None:
        del frame
        if number == signal.SIGHUP and self._reload is not None and not (self._terminal and not _has_terminal()):
            self._reload()
            return
        # The second one means it, whichever it is.
        for each in ENDING:
            if each in self._before:
                signal.signal(each, signal.SIG_DFL)
        if self._stop is not None:
            self._stop()
        elif number == signal.SIGINT:
            raise KeyboardInterrupt
        else:
            raise Stopped


def _has_terminal() -> bool:
    """Whether this process has a terminal that could be closed."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True


def _ignore(number: int, frame: FrameType | None) -> None:
    del frame
    # Not by print: the signal may have come in the middle of one.
    with contextlib.suppress(OSError):
        os.write(_STDERR, f"event=signal_ignored signal={signal.Signals(number).name}\n".encode())
