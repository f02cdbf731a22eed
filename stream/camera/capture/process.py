"""The parent's end of one capture process: start it, receive its frames and events, end it."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import threading
from dataclasses import asdict
from pathlib import Path

from engine.settings import child_environment
from stream.camera.capture.protocol import Event, Orders, Resume
from stream.camera.capture.slot import Slot
from stream.camera.frame import CameraError
from stream.camera.settings import CameraSettings

_ROOT = Path(__file__).resolve().parents[3]
# Our packages' folder replaces the working directory on the module path: a stray cv2.py there is not ours to
# run.
_BOOT = "import sys; sys.path[0] = sys.argv[1]; from stream.camera.capture.child import main; sys.exit(main())"


class CaptureProcess:
    """One running capture process with its slot, control socket and two event counters.

    Args:
        uri: The camera URI, credentials included; it travels through a pipe, never on a command line.
        settings: The camera's settings.
        captured: Frames captured by earlier processes of this camera.
        resume: Files: where to go on.

    Raises:
        CameraError: If the system refuses memory, descriptors or the process.
    """

    def __init__(self, uri: str, settings: CameraSettings, captured: int, resume: Resume) -> None:
        self.slot = Slot.create()
        self.slot.start_at(captured)
        self._open = True
        self.over = False
        try:
            self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            self._control.setblocking(False)
            self._frame_fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
            self._taken_fd = os.eventfd(0, os.EFD_CLOEXEC)
            self._stderr_fd, stderr = os.pipe()
            # A library that complains for days fills the pipe and is then cut off; nobody waits and nothing
            # grows.
            os.set_blocking(stderr, False)
            os.set_blocking(self._stderr_fd, False)
            fds = (self.slot.fd, theirs.fileno(), self._frame_fd, self._taken_fd)
            self._process = subprocess.Popen(
                [sys.executable, "-c", _BOOT, str(_ROOT)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                pass_fds=fds,
                env=child_environment(),
                start_new_session=True,
            )
        except OSError as error:
            raise CameraError(f"the capture process does not start: {error}") from error
        theirs.close()
        os.close(stderr)
        die_with_thread = threading.current_thread() is threading.main_thread()
        orders = Orders(uri, asdict(settings), *fds, os.getpid(), die_with_thread, resume)
        assert self._process.stdin is not None
        try:
            with self._process.stdin as pipe:
                pipe.write(orders.encode())
        except OSError:
            # It died before it read its orders: the control socket reports that as its exit.
            return

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    def events(self) -> list[Event]:
        """Take what the process has reported since the last call; ``exit`` comes last and once."""
        events: list[Event] = []
        while not self.over:
            try:
                packet = self._control.recv(65536)
            except BlockingIOError:
                break
            except OSError:
                packet = b""
            if packet:
                events.append(Event.decode(packet))
            else:
                self.over = True
                events.append(Event("exit"))
        return events

    def clear_frame_event(self) -> None:
        """Make the frame counter zero, so that ``wait`` waits for a newer frame."""
        try:
            os.eventfd_read(self._frame_fd)
        except BlockingIOError:
            return

    def taken(self) -> None:
        """Tell the process that the slot is free."""
        os.eventfd_write(self._taken_fd, 1)

    def wait(self, timeout_ns: int) -> None:
        """Wait for a frame, an event or the end of the process, at most ``timeout_ns``; never polls."""
        poll = select.poll()
        for descriptor in self.descriptors():
            poll.register(descriptor, select.POLLIN)
        poll.poll(max(0, -(-timeout_ns // 1_000_000)))

    def descriptors(self) -> tuple[int, ...]:
        """What becomes readable with a frame or an event."""
        return (self._frame_fd,) if self.over else (self._frame_fd, self._control.fileno())

    def last_error_line(self) -> str:
        """Give the last line of the process's standard error, for a process that crashed."""
        try:
            text = os.read(self._stderr_fd, 1 << 16).decode(errors="replace").strip()
        except BlockingIOError:
            text = ""
        return text.splitlines()[-1][:300] if text else ""

    def kill(self) -> subprocess.Popen[bytes] | None:
        """End the process with all that it started, and free everything shared with it.

        Returns:
            The process if it has not gone yet (asleep inside a driver): ``poll`` it later. Else None.
        """
        if not self._open:
            return None
        self._open = False
        if self._process.poll() is None:
            try:
                os.killpg(self._process.pid, signal.SIGKILL)
            except ProcessLookupError:
                self._process.kill()
        try:
            self._process.wait(0.1)
            left = None
        except subprocess.TimeoutExpired:
            left = self._process
        self._control.close()
        for fd in (self._frame_fd, self._taken_fd, self._stderr_fd):
            os.close(fd)
        self.slot.close()
        return left
