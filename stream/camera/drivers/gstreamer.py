"""GStreamer pipelines, CSI cameras among them: a gst-launch-1.0 child writes raw frames to a pipe.

pip's OpenCV is built without GStreamer, so the pipeline runs in Debian's own program and we read its pixels.
The size comes from the caps that ``gst-launch-1.0 -v`` prints; rows are padded to four bytes, as GStreamer
lays out RGB.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import re
import select
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from stream.camera.driver import Opened, Raw, SourceEnded, SourceLost
from stream.camera.frame import CameraError
from stream.camera.settings import CameraSettings
from stream.camera.uri import SourceUri

_SINK = "dferstream_sink"
_CAPS = re.compile(rf"{_SINK}\.GstPad:sink: caps = (video/x-raw.*)")
_NEVER = (
    "no element",
    "no property",
    "could not link",
    "syntax error",
    "erroneous pipeline",
    "empty pipeline",
)
_F_SETPIPE_SZ, _PIPE_BYTES = 1031, 1 << 20
_PR_SET_PDEATHSIG = 1


def csi_pipeline(sensor: int, settings: CameraSettings, has_element: Callable[[str], bool]) -> str:
    """Write the pipeline of a CSI camera: NVIDIA's Argus source on a Jetson, libcamera elsewhere.

    Args:
        sensor: Number of the sensor, from 0.
        settings: Its size and rate; 1280x720 at 30 unless given, which every CSI sensor in use has a mode
            for.
        has_element: Tells whether GStreamer has an element.

    Raises:
        CameraError: If neither source is installed, or libcamera is asked for another sensor than 0.
    """
    width, height = settings.width or 1280, settings.height or 720
    size = f"width={width},height={height},framerate={round(settings.fps or 30)}/1"
    if has_element("nvarguscamerasrc"):
        return (
            f"nvarguscamerasrc sensor-id={sensor} ! video/x-raw(memory:NVMM),format=NV12,{size}"
            " ! nvvidconv ! video/x-raw,format=BGRx"
        )
    if has_element("libcamerasrc"):
        if sensor:
            raise CameraError(
                f"csi://{sensor}: libcamera does not number its sensors",
                "name it with gst://libcamerasrc camera-name=…",
            )
        return f"libcamerasrc ! video/x-raw,{size}"
    raise CameraError(
        "csi:// needs nvarguscamerasrc or libcamerasrc",
        "apt-get install nvidia-l4t-gstreamer on a Jetson, gstreamer1.0-libcamera elsewhere",
    )


def installed(element: str) -> bool:
    """Ask gst-inspect-1.0 whether an element is installed."""
    program = shutil.which("gst-inspect-1.0")
    return bool(program) and subprocess.run([str(program), "--exists", element], check=False).returncode == 0


class GStreamerDriver:
    """One gst-launch-1.0 process and the pipe it writes to."""

    def __init__(self, uri: SourceUri, settings: CameraSettings) -> None:
        self._uri, self._settings = uri, settings
        self._process: subprocess.Popen[bytes] | None = None
        self._data = -1
        self._shape = (0, 0)
        self._buffer = bytearray()
        self._filled = 0
        self._text = {"out": b"", "err": b""}

    def open(self) -> Opened:
        """Start the pipeline and wait for its caps."""
        program = shutil.which("gst-launch-1.0")
        if program is None:
            raise CameraError(
                "gst-launch-1.0 is missing", "apt-get install gstreamer1.0-tools gstreamer1.0-plugins-base"
            )
        if self._uri.kind == "csi":
            pipeline = csi_pipeline(int(self._uri.target), self._settings, installed)
        else:
            pipeline = self._uri.target
        try:
            elements = shlex.split(pipeline)
        except ValueError as error:
            raise CameraError(f"{self._uri}: {error} in the pipeline", "write it as for gst-launch-1.0") from error
        self._data, theirs = os.pipe()
        # A pipe no larger than one small frame: what waits in it is old by the time it is read.
        fcntl.fcntl(self._data, _F_SETPIPE_SZ, _PIPE_BYTES)
        os.set_blocking(self._data, False)
        tail = f"! videoconvert ! video/x-raw,format=RGB ! fdsink name={_SINK} fd={theirs} sync=false"
        libc = ctypes.CDLL(None, use_errno=True)
        self._process = subprocess.Popen(
            [program, "-v", "--no-fault", *elements, *tail.split()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=(theirs,),
            env={**os.environ, "LC_ALL": "C"},
            # Forked from the capture process's only busy thread: safe here, and the one way not to outlive
            # it.
            preexec_fn=lambda: libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0),
        )
        os.close(theirs)
        for stream in (self._process.stdout, self._process.stderr):
            assert stream is not None
            os.set_blocking(stream.fileno(), False)
        fps = self._wait_for_caps(time.monotonic_ns() + self._settings.open_timeout_ms * 1_000_000)
        return Opened(self._shape[1], self._shape[0], fps)

    def read(self) -> Raw:
        """Wait for the next whole frame; its time is its arrival."""
        deadline_ns = time.monotonic_ns() + self._settings.read_timeout_ms * 1_000_000
        if self._filled == len(self._buffer):
            self._filled = 0
        view = memoryview(self._buffer)
        while self._filled < len(self._buffer):
            try:
                count = os.readv(self._data, [view[self._filled :]])
            except BlockingIOError:
                if not self._wait(deadline_ns):
                    raise SourceLost(f"{self._uri} gives no more frames") from None
                continue
            if count == 0:
                raise self._finished()
            self._filled += count
        height, width = self._shape
        rows = np.frombuffer(self._buffer, np.uint8).reshape(height, -1)
        image: NDArray[np.uint8] = rows[:, : width * 3].reshape(height, width, 3)
        return Raw(image, time.monotonic_ns(), "arrival", rgb=True)

    def close(self) -> None:
        """Stop the pipeline."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for stream in (self._process.stdout, self._process.stderr):
                assert stream is not None
                stream.close()
            self._process = None
        if self._data >= 0:
            os.close(self._data)
            self._data = -1

    def _wait_for_caps(self, deadline_ns: int) -> float:
        assert self._process is not None
        while True:
            over = self._process.poll() is not None
            if over:
                self._drain()
            if found := _CAPS.findall(self._text["out"].decode(errors="replace")):
                self._shape = height, width = _size(found[-1])
                self._buffer = bytearray(height * ((width * 3 + 3) // 4 * 4))
                self._filled = len(self._buffer)
                rate = re.findall(r"framerate=\(fraction\)(\d+)/(\d+)", found[-1])
                return int(rate[0][0]) / max(1, int(rate[0][1])) if rate else 0.0
            if over:
                raise self._finished()
            if not self._wait(deadline_ns, data=False):
                raise SourceLost(f"{self._uri} gave no picture in time")

    def _wait(self, deadline_ns: int, data: bool = True) -> bool:
        """Wait until the pipeline has written something, draining its words; False when time is up."""
        assert self._process is not None
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        poll = select.poll()
        if data:
            poll.register(self._data, select.POLLIN)
        for stream in (self._process.stdout, self._process.stderr):
            poll.register(stream.fileno(), select.POLLIN)
        left_ms = (deadline_ns - time.monotonic_ns()) // 1_000_000
        if left_ms <= 0:
            return False
        events = dict(poll.poll(left_ms))
        if self._data not in events:
            self._drain()
        return bool(events)

    def _drain(self) -> None:
        assert self._process is not None
        for key, stream in (("out", self._process.stdout), ("err", self._process.stderr)):
            assert stream is not None
            text = stream.read() or b""
            self._text[key] = (self._text[key] + text)[-16384:]
            # The pipe carries bare pixels: from here on they would be cut at the wrong places. Start again.
            found = _CAPS.findall(text.decode(errors="replace")) if key == "out" and self._shape[0] else []
            if found and _size(found[-1]) != self._shape:
                raise SourceLost(f"{self._uri} changed its frame size")

    def _finished(self) -> Exception:
        assert self._process is not None
        try:
            code: int | None = self._process.wait(1.0)
        except subprocess.TimeoutExpired:
            code = None
        self._drain()
        words = self._text["err"].decode(errors="replace")
        lines = [line.strip() for line in words.splitlines() if "ERROR" in line or "WARNING: erroneous" in line]
        reason = self._uri.scrub(lines[0]) if lines else f"gst-launch-1.0 ended with code {code}"
        if any(sign in words.lower() for sign in _NEVER):
            return CameraError(f"{self._uri} cannot be built: {reason}", "try it with gst-launch-1.0")
        if code == 0:
            return SourceEnded(f"{self._uri} ended")
        return SourceLost(f"{self._uri} failed: {reason}")


def _size(caps: str) -> tuple[int, int]:
    height, width = (int(re.findall(rf"{key}=\(int\)(\d+)", caps)[0]) for key in ("height", "width"))
    return height, width
