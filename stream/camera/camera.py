"""A camera as the rest of the daemon sees it: the newest frame, a state, and counts."""

from __future__ import annotations

import contextlib
import subprocess
import time

from stream.camera.capture.process import CaptureProcess
from stream.camera.capture.protocol import Event, Resume
from stream.camera.capture.slot import IDLE_FOR_EVER, SlotMeta
from stream.camera.capture.watch import Backoff, Watch
from stream.camera.faults import FAULTS
from stream.camera.frame import SOURCES_OF_TIME, CameraError, Frame
from stream.camera.paths import find_file
from stream.camera.pixels import copied
from stream.camera.settings import CameraSettings
from stream.camera.stats import CameraReport, CameraStats
from stream.camera.uri import SourceUri, parse_uri

_FILE_RESTARTS = 3


class Camera:
    """One source, read in a child process. One thread at a time; ``read`` regularly: it also supervises.

    Args:
        uri: A camera URI, see ``parse_uri``.
        settings: Its settings.

    Attributes:
        check_again_ns: CLOCK_MONOTONIC ns at which it must be read again, whatever :meth:`descriptors` say.

    Raises:
        CameraError: If the URI is not understood, or names a file that is not there.
    """

    def __init__(self, uri: str, settings: CameraSettings | None = None) -> None:
        self.uri: SourceUri = parse_uri(uri)
        self.settings = settings or CameraSettings()
        self._spawn_uri = uri
        if self.uri.is_file and self.settings.driver is None:
            path = find_file(self.uri)
            if self.uri.kind == "file":
                # Absolute, and as a bare path: nothing in it is an escape any more.
                self._spawn_uri = str(path)
        self._watch = Watch(self.settings, self.uri.can_freeze)
        self._backoff = Backoff(self.settings.backoff_min_ms * 1_000_000, self.settings.backoff_max_ms * 1_000_000)
        self._process: CaptureProcess | None = None
        self._leaving: list[subprocess.Popen[bytes]] = []
        self._resume = Resume()
        self._spawn_ns = 0
        self._launched = self._started = self._closed = False
        self._end: Event | None = None
        self.check_again_ns = 0
        self._captured = self._delivered = self._repeated = self._next_seq = 0
        self._opened = self._restarts = self._file_restarts = 0
        self._fps, self._size, self._message, self._frame_lost = 0.0, (0, 0), "", ""

    @property
    def state(self) -> str:
        """``ok``, ``no_camera`` (not open), ``stalled``, ``frozen`` or ``ended``, as of the last ``read``."""
        return self._watch.state

    @property
    def stats(self) -> CameraStats:
        """Counts since ``start``."""
        captured = self._process.slot.captured if self._process else self._captured
        return CameraStats(
            captured=captured,
            delivered=self._delivered,
            dropped=self._next_seq - self._delivered - self._repeated,
            repeated=self._repeated,
            reconnects=max(0, self._opened - 1),
            restarts=self._restarts,
            fps=self._fps,
            width=self._size[0],
            height=self._size[1],
            message=self._message,
        )

    @property
    def report(self) -> CameraReport:
        """What it says of itself, as of the last ``read``."""
        stats = self.stats
        return CameraReport(self.state, self.uri.is_file, stats.dropped, stats.reconnects, stats.fps, stats.message)

    def launch(self) -> None:
        """Start the capture process and do not wait for it; :meth:`start` then does. A file plays from its first read.

        Raises:
            CameraError: If the system refuses the process.
        """
        self._launched = True
        self._spawn()

    def start(self) -> None:
        """Start capturing. A live source may be absent and come later; a file is waited for.

        Raises:
            CameraError: If a file cannot be played, or the source can never work.
        """
        if self._started:
            raise CameraError("this camera was started before", "make a new one")
        self._started = True
        if not self._launched:
            self.launch()
        if not self.uri.is_file:
            return
        limit_ns = time.monotonic_ns() + self.settings.open_timeout_ms * 1_000_000
        while self._process is not None and not self._opened and self._end is None:
            left_ns = limit_ns - time.monotonic_ns()
            if left_ns <= 0:
                self.close()
                raise CameraError(f"{self.uri} did not open within {self.settings.open_timeout_ms} ms")
            self._process.wait(left_ns)
            self._receive_events()
        if self._end is not None and self._end.kind != "ended":
            self._handle_end()

    def read(self, timeout_s: float, lent: bool = False) -> Frame | None:
        """Wait for a frame newer than the last one returned.

        Returns early, with None, when ``state`` changes: a stall is known when it happens, not at the next
        time-out.

        Args:
            timeout_s: Longest wait, s; 0 only looks.
            lent: Whether the picture may lie in shared memory, where the next ``read`` lets it be overwritten.

        Returns:
            The newest frame, never the same one twice; None if there was none in time, or no more are coming
            (``state``).

        Raises:
            CameraError: If the source cannot work as configured, or this camera is not started or closed.
        """
        if not self._started or self._closed:
            raise CameraError("this camera is not running", "call start() first, and not after close()")
        limit_ns = time.monotonic_ns() + round(timeout_s * 1e9)
        entered = self.state
        while True:
            self._receive_events()
            if (frame := self._take_frame(lent)) is not None:
                self.check_again_ns = 0
                return frame
            self._handle_end()
            check_again_ns = self.check_again_ns = self._supervise()
            now_ns = time.monotonic_ns()
            if self.state != entered or self.state == "ended" or now_ns >= limit_ns:
                return None
            wait_ns = max(0, min(check_again_ns, limit_ns) - now_ns)
            if self._process is not None:
                self._process.wait(wait_ns)
            else:
                time.sleep(wait_ns / 1e9)

    def descriptors(self) -> tuple[int, ...]:
        """What becomes readable when there is something to read: for whoever waits for several cameras at once."""
        return () if self._process is None else self._process.descriptors()

    def close(self) -> None:
        """End the capture process. Safe to call twice."""
        self._closed = True
        self._drop_process()
        for process in self._leaving:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(2.0)

    def __enter__(self) -> Camera:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _spawn(self) -> None:
        self._process = CaptureProcess(self._spawn_uri, self.settings, self._captured, self._resume)
        self._end = None
        self._watch.opening(time.monotonic_ns())

    def _drop_process(self) -> None:
        if self._process is not None:
            self._captured = self._process.slot.captured
            if (left := self._process.kill()) is not None:
                self._leaving.append(left)
            self._process = None

    def _receive_events(self) -> None:
        if self._process is None:
            return
        self._process.clear_frame_event()
        for event in self._process.events():
            if event.kind != "ended":
                self._message = event.message or self._message
            if event.kind == "opening":
                self._watch.opening(event.t_ns)
            elif event.kind == "opened":
                self._opened += 1
                self._fps = event.fps
                self._size = self._size if any(self._size) else (event.width, event.height)
                self._watch.opened(event.t_ns, event.fps, event.predicted)
            elif event.kind == "started":
                self._resume.start_ns, self._resume.start_unix_ns = event.start_ns, event.start_unix_ns
            elif event.kind == "frame_lost":
                self._frame_lost = event.message
            elif event.kind == "lost":
                self._message += f"; {self._frame_lost}" if self._frame_lost else ""
                self._watch.lost(event.t_ns)
            elif self._end is None:
                self._end = event

    def _take_frame(self, lent: bool) -> Frame | None:
        taken = self._process.slot.take() if self._process is not None else None
        if taken is None or self._process is None:
            return None
        meta = taken.meta
        # A copy: 0.1 ms at 640x480 buys the caller a picture that nothing will ever overwrite.
        image = taken.content if lent else copied(taken.content)
        self._process.taken()
        self._note(meta)
        self._frame_lost = ""
        if self.state == "frozen":
            # It shows nothing that is happening now; whoever reads must not take it for a fresh frame.
            self._repeated += 1
            return None
        self._delivered += 1
        self._size = (image.shape[1], image.shape[0])
        src, fault = SOURCES_OF_TIME[meta.src], FAULTS[meta.fault]
        return Frame(image, meta.seq, meta.t_capture_ns, meta.t_capture_unix_ns, src, meta.t_arrival_ns, fault)

    def _note(self, meta: SlotMeta) -> None:
        self._next_seq = meta.seq + 1
        self._resume.position, self._resume.base_ns = meta.position + 1, meta.base_ns
        self._watch.frame(meta.seq, meta.t_capture_ns, meta.t_arrival_ns, meta.digest)
        if self.state == "ok":
            self._backoff.reset()
            self._file_restarts = 0

    def _handle_end(self) -> None:
        """Act on the end of the capture process, once its last frame has been delivered."""
        if self._end is None or self._process is None:
            return
        end, self._end = self._end, None
        if end.kind == "ended":
            self._message = end.message or self._message
            self._watch.ended()
            self._drop_process()
        elif end.kind == "error":
            self.close()
            raise CameraError(end.message)
        else:
            reason = self.uri.scrub(self._process.last_error_line())
            self._message = f"the capture process died{': ' + reason if reason else ''}"
            self._watch.lost(time.monotonic_ns())
            self._replace()

    def _supervise(self) -> int:
        """Start, check or replace the capture process; give the time to check again, ns."""
        now_ns = time.monotonic_ns()
        if self._leaving:
            self._leaving = [process for process in self._leaving if process.poll() is None]
        if self.state == "ended":
            return IDLE_FOR_EVER
        if self._process is None:
            if now_ns < self._spawn_ns:
                return self._spawn_ns
            self._spawn()
        assert self._process is not None
        slot = self._process.slot
        status = self._watch.check(now_ns, slot.arrival_ns, slot.idle_until_ns)
        if status.restart:
            why = f"; {self._frame_lost}" if self._frame_lost else ""
            self._message = f"{self.uri} gave no new frame in time ({status.state}): opening it again{why}"
            self._replace()
            return self._spawn_ns
        return status.check_again_ns

    def _replace(self) -> None:
        self._drop_process()
        self._restarts += 1
        self._file_restarts += 1
        if self.uri.is_file and self._file_restarts > _FILE_RESTARTS:
            self.close()
            raise CameraError(f"{self.uri} cannot be read on: {self._message}", "check the file and its disk")
        self._spawn_ns = time.monotonic_ns() + self._backoff.fail()
