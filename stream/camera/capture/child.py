"""The capture process: opens a source, writes its frames into the slot, opens it again when it is lost.

A thread whose ``read`` never returns cannot be killed; a process can. It is started as a fresh interpreter
(nothing is forked, nothing unpickled), gets its orders as one JSON line on standard input, where no process
list shows a password, and imports only what its driver needs.
"""

from __future__ import annotations

import ctypes
import gc
import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace

_PR_SET_PDEATHSIG = 1

# Read by OpenCV as it loads. Its own words would break the terminal's table, and FFMPEG's may hold a URL.
os.environ.update(OPENCV_LOG_LEVEL="OFF", OPENCV_FFMPEG_LOGLEVEL="-8", OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT="2")
# One thread reads the camera; the rest of the machine is the daemon's.
os.environ.update(OPENCV_FOR_THREADS_NUM="1", OPENBLAS_NUM_THREADS="1")

import numpy as np  # noqa: E402

from engine.heap import keep_freed  # noqa: E402
from stream.camera.capture.frozen import digest  # noqa: E402
from stream.camera.capture.protocol import Event, Orders, Resume  # noqa: E402
from stream.camera.capture.slot import IDLE_FOR_EVER, Slot, SlotMeta  # noqa: E402
from stream.camera.capture.watch import Backoff  # noqa: E402
from stream.camera.driver import Driver, Raw, SourceEnded, SourceLost, to_rgb  # noqa: E402
from stream.camera.drivers import open_driver  # noqa: E402
from stream.camera.faults import FAULTS, FrameJudge  # noqa: E402
from stream.camera.frame import SOURCES_OF_TIME, CameraError, FrameLost  # noqa: E402
from stream.camera.pixels import CODINGS, Pixels, PlanarPixels, RgbPixels  # noqa: E402
from stream.camera.settings import CameraSettings  # noqa: E402
from stream.camera.uri import parse_uri  # noqa: E402


class Capture:
    """The capture loop."""

    def __init__(self, orders: Orders) -> None:
        self._frame_fd, self._taken_fd = orders.frame_fd, orders.taken_fd
        self._resume: Resume = orders.resume
        self._settings = CameraSettings(**orders.settings)
        self._uri = parse_uri(orders.uri)
        self._slot = Slot(orders.slot_fd)
        self._control = socket.socket(fileno=orders.control_fd)
        self._seq = self._slot.captured
        self._judge = FrameJudge()
        self._published, self._lost_frame = False, ""
        # Real time: media time 0 is shown when the monotonic clock reads this.
        self._play_ns: int | None = None
        self._first_ns = 0

    def run(self) -> int:
        """Capture until the source ends (0) or cannot work (3)."""
        backoff = Backoff(self._settings.backoff_min_ms * 1_000_000, self._settings.backoff_max_ms * 1_000_000)
        while True:
            driver: Driver | None = None
            try:
                driver = open_driver(self._uri, self._settings, self._resume.position, self._resume.base_ns)
                self._report(Event("opening"))
                opened = driver.open()
                size = opened.width, opened.height
                self._report(Event("opened", 0, "", opened.fps, *size, opened.predicted))
                while True:
                    try:
                        self._publish(driver.read())
                    except FrameLost as loss:
                        self._lose(str(loss))
                    else:
                        backoff.reset()
            except SourceEnded as end:
                if self._lost_frame and not self._published and not self._resume.position:
                    self._report(Event("error", message=f"{self._uri} holds no usable frame: {self._lost_frame}"))
                    return 3
                self._report(Event("ended", message=str(end)))
                return 0
            except SourceLost as loss:
                self._report(Event("lost", message=str(loss)))
            except CameraError as error:
                self._report(Event("error", message=str(error)))
                return 3
            except _refusals() as error:
                # A library refusing one frame is a broken stream, not a broken program.
                words = self._uri.scrub(f"{self._uri}: {type(error).__name__}: {error}")
                self._report(Event("lost", message=words))
            finally:
                if driver is not None:
                    driver.close()
                    driver = None
            # A container and its streams know each other: left to Python's own time, 30 reconnects held 10 MB.
            gc.collect()
            if self._uri.is_file:
                self._report(Event("error", message=f"{self._uri} failed while it was read"))
                return 3
            time.sleep(backoff.fail() / 1e9)

    def _publish(self, raw: Raw) -> None:
        now_ns, now_unix_ns = time.monotonic_ns(), time.time_ns()
        t_ns, t_unix_ns = raw.t_ns, now_unix_ns - (now_ns - raw.t_ns)
        if raw.src == "file":
            t_ns, t_unix_ns = self._file_time(raw.t_ns, now_ns, now_unix_ns)
        height, width = raw.content.shape[:2]
        target, layout = self._paint(raw, height, width)
        value = digest(target) if self._uri.can_freeze else 0
        fault = self._judge.step(target, raw.damaged)
        if raw.src == "file":
            self._hold(raw.t_ns)
            now_ns = time.monotonic_ns()
        meta = SlotMeta(
            self._seq,
            t_ns,
            t_unix_ns,
            now_ns,
            SOURCES_OF_TIME.index(raw.src),
            value,
            raw.position,
            raw.base_ns,
            FAULTS.index(fault),
            layout,
        )
        self._slot.commit(meta, height, width)
        self._seq += 1
        self._published = True
        os.eventfd_write(self._frame_fd, 1)

    def _paint(self, raw: Raw, height: int, width: int) -> tuple[Pixels, int]:
        """Write a frame into the slot; gives it, and its layout there."""
        if isinstance(raw.content, PlanarPixels):
            planes = self._slot.paint_planes(height, width, raw.content.coding)
            for target, source in zip(planes.planes, raw.content.planes, strict=True):
                np.copyto(target, source)
            return planes, 1 + CODINGS.index(planes.coding)
        image = self._slot.paint(height, width)
        to_rgb(raw, image)
        return RgbPixels(image), 0

    def _lose(self, words: str) -> None:
        """Count a frame that cannot be used as one dropped, and say so: once until the reason is another one."""
        self._seq += 1
        self._slot.start_at(self._seq)
        if words != self._lost_frame:
            self._lost_frame = words
            self._report(Event("frame_lost", message=words))

    def _file_time(self, media_ns: int, now_ns: int, now_unix_ns: int) -> tuple[int, int]:
        resume = self._resume
        if resume.start_ns is None or resume.start_unix_ns is None:
            chosen = self._settings.start_ns
            resume.start_ns = now_ns - media_ns if chosen is None else chosen
            resume.start_unix_ns = now_unix_ns - media_ns
            self._report(Event("started", start_ns=resume.start_ns, start_unix_ns=resume.start_unix_ns))
        return resume.start_ns + media_ns, resume.start_unix_ns + media_ns

    def _hold(self, media_ns: int) -> None:
        """Files: wait until the frame is due, or, for every frame, until the one before it has been taken.

        Playing begins when the first frame is taken: whoever reads may still be loading its model.
        """
        if self._settings.every_frame or self._play_ns is None:
            if self._slot.full:
                self._slot.idle_until_ns = IDLE_FOR_EVER
                while self._slot.full:
                    os.eventfd_read(self._taken_fd)
                self._slot.idle_until_ns = time.monotonic_ns()
            if self._settings.every_frame:
                return
            if not self._published:
                self._first_ns = media_ns
                return
            self._play_ns = time.monotonic_ns() - self._first_ns
        now_ns = time.monotonic_ns()
        due_ns = self._play_ns + media_ns
        if due_ns > now_ns:
            self._slot.idle_until_ns = due_ns
            time.sleep((due_ns - now_ns) / 1e9)

    def _report(self, event: Event) -> None:
        try:
            self._control.send(replace(event, t_ns=time.monotonic_ns()).encode())
        except OSError:
            # The parent is gone or has closed this camera; nobody is left to capture for.
            raise SystemExit(0) from None


def _refusals() -> tuple[type[Exception], ...]:
    """What libraries raise that refuse a frame; OpenCV's own only where a driver needed OpenCV."""
    known = (OSError, ValueError, MemoryError, RuntimeError)
    opencv = sys.modules.get("cv2")
    return known if opencv is None else (*known, opencv.error)


def die_with_parent(orders: Orders) -> None:
    """Make sure that this process and what it started never outlive the parent.

    A thread waits for the end of file of the control socket, which the kernel sends however the parent died,
    and kills the whole process group, GStreamer included. ``PR_SET_PDEATHSIG`` besides, for a driver that
    holds the interpreter's lock; it fires when the *thread* that started us ends, hence only where that was
    the parent's main thread.
    """
    if orders.die_with_thread:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    poll = select.poll()
    poll.register(orders.control_fd, 0)

    def watch() -> None:
        poll.poll()
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()
    if os.getppid() != orders.parent_pid:
        os.killpg(0, signal.SIGKILL)


def main(read_orders: Callable[[], str] = sys.stdin.readline) -> int:
    """Run one capture process with the orders from standard input."""
    # Ctrl-C goes to every process of a terminal; the parent decides when to stop.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    orders = Orders.decode(read_orders())
    die_with_parent(orders)
    keep_freed()
    return Capture(orders).run()
