"""The ``--show`` window: annotated frames in OpenCV's own window; q or Esc ends it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import Any

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from engine.settings import child_environment
from stream.camera.frame import Frame
from stream.publish.message import Faces, Message
from stream.show.overlay import OverlayError
from stream.show.overlay.draw import draw
from stream.subscribe.meter import StreamMeter

_QUIT_KEYS = (ord("q"), ord("Q"), 27)
_REDRAW_NS = 25_000_000
_PROBE = "import cv2; cv2.namedWindow('probe'); cv2.destroyAllWindows()"


def check_display(timeout_s: float = 20.0) -> None:
    """Say in time why no window can be opened.

    OpenCV's Qt build ends the whole process if it cannot reach the display, so the attempt is made in another one.

    Args:
        timeout_s: How long a display may take to answer.

    Raises:
        OverlayError: With the remedy.
    """
    gui = next((row for row in cv2.getBuildInformation().splitlines() if row.strip().startswith("GUI:")), "")
    if gui.split(":")[-1].strip() == "NONE":
        raise OverlayError(
            "--show: this OpenCV is a headless build without windows",
            "install opencv-python instead of opencv-python-headless, or leave out --show",
        )
    if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        raise OverlayError(
            "--show: there is no display (DISPLAY and WAYLAND_DISPLAY are unset)",
            "run it on the desktop, use 'ssh -X', or leave out --show",
        )
    try:
        probe = subprocess.run(
            [sys.executable, "-c", _PROBE], capture_output=True, text=True, timeout=timeout_s, env=child_environment()
        )
    except subprocess.TimeoutExpired as error:
        raise OverlayError("--show: the display does not answer", "leave out --show") from error
    if probe.returncode:
        words = [row for row in probe.stderr.splitlines() if row.strip()] or ["no reason given"]
        raise OverlayError(
            f"--show: the display {os.environ.get('DISPLAY', '')} cannot be used ({words[0]})",
            "check DISPLAY and its permissions, or leave out --show",
        )


class OverlayWindow:
    """Shows frames with what was published about them: a sink of the daemon, or fed by :meth:`show`.

    Args:
        title: The window's title.
        check: Whether to try the display first.

    Raises:
        OverlayError: If there is no display to show it on.
    """

    def __init__(self, title: str = "dferstream", check: bool = True) -> None:
        if check:
            check_display()
        self._title = title
        self._meter = StreamMeter()
        self._open = False
        self._shown_ns: int | None = None
        self._image = np.zeros((480, 640, 3), np.uint8)

    def __enter__(self) -> OverlayWindow:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def take(self, message: Message, body: bytes, frame: Frame | None) -> bool:
        """Take what was published; only ``faces`` are shown, at most forty times a second.

        Args:
            message: What was published.
            body: Its JSON body.
            frame: The frame it speaks of; without one, the last stays, with the reason written across it.

        Returns:
            False once the user pressed q or Esc or closed the window.

        Raises:
            OverlayError: If the window system fails.
        """
        now_ns = time.monotonic_ns()
        if not isinstance(message, Faces) or (self._shown_ns is not None and now_ns - self._shown_ns < _REDRAW_NS):
            return True
        self._shown_ns = now_ns
        if frame is not None:
            self._image = frame.image
        return self.show(self._image, msgspec.json.decode(body))

    def show(self, image: NDArray[np.uint8], message: Mapping[str, Any]) -> bool:
        """Show one frame.

        Args:
            image: ``(H, W, 3)`` uint8 RGB; before the first frame of a camera, any black picture.
            message: The decoded ``faces/`` body of that frame.

        Returns:
            False once the user pressed q or Esc or closed the window.

        Raises:
            OverlayError: If the window system fails.
        """
        picture = draw(image, message, self._meter.step(message))
        try:
            if not self._open:
                cv2.namedWindow(self._title, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO)
                cv2.resizeWindow(self._title, image.shape[1], image.shape[0])
                self._open = True
            elif cv2.getWindowProperty(self._title, cv2.WND_PROP_VISIBLE) < 1:
                return False
            cv2.imshow(self._title, cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
            return (cv2.waitKey(1) & 0xFF) not in _QUIT_KEYS
        except cv2.error as error:
            reason = (error.err or "no reason given").strip()
            raise OverlayError(f"--show: OpenCV could not show the window ({reason})", "leave out --show") from error

    def close(self) -> None:
        """Close the window."""
        if self._open:
            self._open = False
            cv2.destroyWindow(self._title)
            cv2.waitKey(1)
