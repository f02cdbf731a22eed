"""Talking to systemd: ready, status, watchdog, stopping (sd_notify(3)), without a library.

Started by hand there is no socket, and every call does nothing.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, MutableMapping

from engine.text import printable


class Notifier:
    """The service manager's notification socket.

    Args:
        address: ``NOTIFY_SOCKET``: a path, or ``@name`` for an abstract one; empty for none.
        watchdog_us: ``WATCHDOG_USEC``, 0 for no watchdog.
    """

    def __init__(self, address: str = "", watchdog_us: int = 0) -> None:
        self._address = b"\0" + os.fsencode(address[1:]) if address.startswith("@") else os.fsencode(address)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) if address else None
        if self._socket is not None:
            self._socket.setblocking(False)
        self._half_ns = watchdog_us * 500
        self._fed_ns: int | None = None

    @classmethod
    def from_environment(cls, environ: MutableMapping[str, str] | None = None) -> Notifier:
        """The notifier of this process; takes the variables out, so that children do not speak for the daemon."""
        env = os.environ if environ is None else environ
        address = env.pop("NOTIFY_SOCKET", "")
        watchdog = _watchdog_us(env)
        for name in ("WATCHDOG_USEC", "WATCHDOG_PID"):
            env.pop(name, None)
        return cls(address, watchdog)

    @property
    def watchdog_interval_s(self) -> float | None:
        """How often the watchdog wants feeding: half its limit, s; None without one."""
        return self._half_ns / 1e9 if self._half_ns and self._socket is not None else None

    def ready(self, status: str = "") -> bool:
        """The daemon publishes, with or without a camera."""
        return self._send("READY=1" + (f"\nSTATUS={_line(status)}" if status else ""))

    def status(self, text: str) -> bool:
        """One line for ``systemctl status``."""
        return self._send(f"STATUS={_line(text)}")

    def stopping(self) -> bool:
        """The daemon ends on purpose."""
        return self._send("STOPPING=1")

    def feed(self, now_ns: int, fresh: bool) -> bool:
        """Feed the watchdog if half its interval passed and every heartbeat is fresh; call it as often as you like.

        Args:
            now_ns: CLOCK_MONOTONIC.
            fresh: No stage's heartbeat is overdue; while false the watchdog starves and systemd restarts the daemon.

        Returns:
            Whether it was fed.
        """
        if self._half_ns == 0 or not fresh:
            return False
        if self._fed_ns is not None and now_ns - self._fed_ns < self._half_ns:
            return False
        self._fed_ns = now_ns
        return self._send("WATCHDOG=1")

    def close(self) -> None:
        """Close the socket."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, text: str) -> bool:
        if self._socket is None:
            return False
        try:
            self._socket.sendto(text.encode(), self._address)
        except OSError:
            # A manager that is restarting is no reason to stop publishing; the watchdog tells it the truth.
            return False
        return True


def _watchdog_us(env: Mapping[str, str]) -> int:
    """WATCHDOG_USEC if it is meant for this process (sd_watchdog_enabled(3))."""
    try:
        meant = int(env.get("WATCHDOG_PID", os.getpid())) == os.getpid()
        return max(0, int(env.get("WATCHDOG_USEC", "0"))) if meant else 0
    except ValueError:
        return 0


def _line(text: str) -> str:
    return printable(" ".join(text.split()))
