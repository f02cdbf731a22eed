"""Settings of one camera."""

from __future__ import annotations

from dataclasses import dataclass

from stream.camera.frame import CameraError

LONGEST_MS = 86_400_000
"""Longest wait that can be set, ms: a day. Beyond it timers of the system overflow."""


@dataclass(frozen=True)
class CameraSettings:
    """What to ask of a camera and when to give it up. ``None`` leaves the choice to the driver.

    Attributes:
        width: Requested width, px (v4l2, csi; others keep their own).
        height: Requested height, px (v4l2, csi).
        fps: Requested rate, frames/s (v4l2, csi); the rate of an image folder (25 if not given).
        fourcc: Pixel format asked of a V4L2 device; MJPG keeps USB 2 cameras at full rate. Empty: the
            driver's choice.
        every_frame: Files: skip no frame and wait for none; the source waits until each frame has been read.
        loop: Files: start again after the last frame, on one running time line. ``demo://`` always does.
        start_ns: Files: CLOCK_MONOTONIC ns given to the first frame. None: the moment it was decoded.
        stall_ms: A live source without a frame for longer than max(this, 2.5 frame periods) is stalled.
        restart_ms: A source without a new frame for this long has its capture process killed and started
            again.
        open_timeout_ms: Longest time for opening a source and getting its first frame.
        read_timeout_ms: Longest wait for a frame inside network and GStreamer drivers.
        frozen_ms: A camera that repeats one frame bit for bit for this long (H.264 and the like: ten times as
            long) is frozen; 0 turns it off.
        backoff_min_ms: First pause before a lost source is opened again; doubles with every failure.
        backoff_max_ms: Longest such pause.
        driver: Dotted name ``module:class`` of the driver to use instead of the scheme's own (tests only).
    """

    width: int | None = None
    height: int | None = None
    fps: float | None = None
    fourcc: str = "MJPG"
    every_frame: bool = False
    loop: bool = False
    start_ns: int | None = None
    stall_ms: int = 400
    restart_ms: int = 2000
    open_timeout_ms: int = 8000
    read_timeout_ms: int = 1500
    frozen_ms: int = 900
    backoff_min_ms: int = 100
    backoff_max_ms: int = 1000
    driver: str | None = None

    def __post_init__(self) -> None:
        for name in ("width", "height"):
            value = getattr(self, name)
            if value is not None and not 16 <= value <= 8192:
                raise CameraError(f"camera.{name} = {value}", "give 16 to 8192 px, or leave it out")
        if self.fps is not None and not 0.05 <= self.fps <= 1000:
            raise CameraError(f"camera.fps = {self.fps}", "give 0.05 to 1000 frames/s, or leave it out")
        if len(self.fourcc) not in (0, 4) or not self.fourcc.isascii():
            raise CameraError(f"camera.fourcc = {self.fourcc!r}", "give four letters such as MJPG or YUYV, or ''")
        for name in (
            "stall_ms",
            "restart_ms",
            "open_timeout_ms",
            "read_timeout_ms",
            "backoff_min_ms",
            "backoff_max_ms",
        ):
            if not 0 < getattr(self, name) <= LONGEST_MS:
                raise CameraError(f"camera.{name} = {getattr(self, name)}", f"give 1 to {LONGEST_MS} ms (a day)")
        if not 0 <= self.frozen_ms <= LONGEST_MS:
            raise CameraError(f"camera.frozen_ms = {self.frozen_ms}", f"give 0 (off) to {LONGEST_MS} ms (a day)")
        if self.restart_ms < self.stall_ms:
            raise CameraError(f"camera.restart_ms = {self.restart_ms} is below camera.stall_ms = {self.stall_ms}")
        if self.backoff_max_ms < self.backoff_min_ms:
            raise CameraError("camera.backoff_max_ms is below camera.backoff_min_ms")
